package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what is read into memory.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxDepth    = 64
)

// strictJSON decodes one document from outside. It refuses what two readers
// could understand differently: a key twice in an object (also when only the
// case differs, which encoding/json overlooks), anything after the document;
// and nesting that is there only to hurt.
func strictJSON(data []byte, into any) error {
	if err := checkJSON(data); err != nil {
		return fail(ErrCorrupt, "%s", err.Error())
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fail(ErrCorrupt, "not the JSON that it should be").because(err)
	}
	return nil
}

// open is an array or an object whose end has not come yet.
type openJSON struct {
	keys   map[string]bool // nil: an array
	inPair bool            // the key has been read, its value has not
}

func checkJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var stack []openJSON
	for {
		tok, err := dec.Token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("not JSON: %w", err)
		}
		if stack, err = step(stack, tok); err != nil {
			return err
		}
		if len(stack) == 0 {
			break
		}
	}
	if rest := bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return errors.New("more than one JSON document")
	}
	return nil
}

func step(stack []openJSON, tok json.Token) ([]openJSON, error) {
	top := len(stack) - 1
	if d, ok := tok.(json.Delim); ok {
		switch d {
		case '{', '[':
			if len(stack) == maxDepth {
				return nil, fmt.Errorf("JSON nested more than %d deep", maxDepth)
			}
			if top >= 0 {
				stack[top].inPair = false
			}
			o := openJSON{}
			if d == '{' {
				o.keys = map[string]bool{}
			}
			return append(stack, o), nil
		default:
			return stack[:top], nil
		}
	}
	if top < 0 || stack[top].keys == nil {
		return stack, nil
	}
	if stack[top].inPair {
		stack[top].inPair = false
		return stack, nil
	}
	key, _ := tok.(string)
	// Labels and other maps of the user may well differ in case only; the
	// keys that we read do not.
	folded := key
	if isKnownKey(strings.ToLower(key)) {
		folded = strings.ToLower(key)
	}
	if stack[top].keys[folded] {
		return nil, fmt.Errorf("the key %s stands twice in one JSON object", quote(key))
	}
	stack[top].keys[folded] = true
	stack[top].inPair = true
	return stack, nil
}

func isKnownKey(lower string) bool {
	switch lower {
	case "schemaversion", "mediatype", "manifests", "config", "layers", "digest", "size", "urls", "annotations",
		"platform", "architecture", "os", "variant", "rootfs", "type", "diff_ids", "history", "entrypoint", "cmd", "env",
		"user", "workingdir", "repotags", "fslayers":
		return true
	}
	return false
}
