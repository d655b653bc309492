package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/spec"
)

// volumeOpts is what --opt says, as docker and podman have it: type, device and
// o, the mount's options. Who is not root can mount a tmpfs and bind.
type volumeOpts struct {
	tmpfs    bool
	device   string   // the directory that is bound, "" for the volume's own
	words    []string // of the mount
	uid, gid uint32   // of the volume's own directory, where owned says so
	owned    bool
}

// plain says that the data is the volume's own.
func (o volumeOpts) plain() bool { return !o.tmpfs && o.device == "" }

func parseVolumeOptions(opts map[string]string) (volumeOpts, error) {
	var v volumeOpts
	for key := range opts {
		if !slices.Contains([]string{"type", "device", "o"}, key) {
			return v, &Error{Op: "read --opt " + key, Err: errors.New("there is no such option of the driver local"), Help: "--opt type=, --opt device= and --opt o="}
		}
	}
	kind, device := opts["type"], opts["device"]
	words := strings.FieldsFunc(opts["o"], func(r rune) bool { return r == ',' })
	switch {
	case kind == "tmpfs":
		v.tmpfs = true
		return v, v.setTmpfs(words)
	case kind == "bind", kind == "none" && slices.ContainsFunc(words, isBindWord):
		if !filepath.IsAbs(device) {
			return v, &Error{Op: "read --opt device=" + device, Err: errors.New("it is not an absolute path"), Help: "--opt device=/a/directory"}
		}
		v.device = filepath.Clean(device)
	case kind == "none":
		return v, &Error{Op: "read --opt type=none", Err: errors.New("it says nothing by itself"), Help: "--opt o=bind --opt device=DIR binds a directory"}
	case kind != "":
		return v, &Error{Op: "read --opt type=" + kind, Err: errors.New("only root may mount that"), Help: "--opt type=tmpfs, or mount it yourself and use --opt type=bind --opt device=DIR"}
	case device != "":
		return v, &Error{Op: "read --opt device=" + device, Err: errors.New("it says nothing without a type"), Help: "--opt type=bind"}
	}
	return v, v.set(words)
}

func isBindWord(word string) bool { return word == "bind" || word == "rbind" }

func (v *volumeOpts) set(words []string) error {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case isBindWord(word) && v.device != "", word == "rw":
		case slices.Contains([]string{"ro", "nodev", "noexec", "nosuid"}, word):
			v.words = append(v.words, word)
		case (key == "uid" || key == "gid") && v.device == "":
			id, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return &Error{Op: "read --opt o=" + word, Err: fmt.Errorf("%s needs a number", key)}
			}
			v.owned = true
			if key == "uid" {
				v.uid = uint32(id)
			} else {
				v.gid = uint32(id)
			}
		case key == "size" || key == "inodes":
			return &Error{Op: "read --opt o=" + word, Err: errors.New("only root may limit a directory"), Help: "--opt type=tmpfs --opt o=" + word + " is limited, and in memory"}
		default:
			return &Error{Op: "read --opt o=" + word, Err: errors.New("there is no such option"), Help: "options are ro, rw, nodev, noexec, nosuid, uid=, gid="}
		}
	}
	return nil
}

// setTmpfs takes what --tmpfs takes.
func (v *volumeOpts) setTmpfs(words []string) error {
	for _, word := range words {
		if word == "rw" {
			continue
		}
		if rest, ok := strings.CutPrefix(word, "inodes="); ok {
			word = "nr_inodes=" + rest
		}
		v.words = append(v.words, word)
	}
	if err := spec.CheckTmpfs(v.words); err != nil {
		return &Error{Op: "read --opt o=" + strings.Join(words, ","), Err: err}
	}
	return nil
}
