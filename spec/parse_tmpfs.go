package spec

import (
	"slices"
	"strconv"
	"strings"
)

// tmpfsWords lists the options of --tmpfs for hints.
func tmpfsWords() []string {
	return []string{
		"size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "huge=", "noswap", "ro", "rw",
		"exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "noatime", "relatime", "strictatime",
		"private", "rprivate", "shared", "rshared", "slave", "rslave", "tmpcopyup", "notmpcopyup", "U",
	}
}

// tmpfsOptions is what --tmpfs and --mount type=tmpfs can say.
type tmpfsOptions struct {
	words  []string // as they go to config.json
	chown  bool
	copyUp bool
}

// set takes one option.
func (o *tmpfsOptions) set(word string) error {
	key, value, pair := strings.Cut(word, "=")
	switch {
	case word == "U":
		o.chown = true
		return nil
	case word == "notmpcopyup":
		o.copyUp = false
		return nil
	case word == "tmpcopyup":
		o.copyUp = true
		return nil
	case pair && slices.Contains(tmpfsWords(), key+"="):
		if err := checkTmpfsValue(key, value); err != nil {
			return err
		}
	case pair || word == "" || !slices.Contains(tmpfsWords(), word):
		e := bad("unknown option %q", word)
		if near := closest(word, tmpfsWords()); near != "" {
			return e.hint("did you mean %s?", near)
		}
		return e.hint("options are %s", strings.Join(tmpfsWords(), ", "))
	}
	for _, old := range o.words {
		if contradict(old, word) {
			return bad("%s and %s contradict each other", old, word)
		}
	}
	o.words = append(o.words, word)
	return nil
}

// contradict says whether two words set the same thing to different values.
func contradict(a, b string) bool {
	if a == b {
		return false
	}
	if a == "ro" && b == "rw" || a == "rw" && b == "ro" || a == "no"+b || b == "no"+a {
		return true
	}
	keyA, _, pairA := strings.Cut(a, "=")
	keyB, _, pairB := strings.Cut(b, "=")
	return pairA && pairB && keyA == keyB
}

func checkTmpfsValue(key, value string) error {
	switch key {
	case "size":
		percent, isPercent := strings.CutSuffix(value, "%")
		if isPercent {
			if n, err := strconv.ParseUint(percent, 10, 16); err == nil && n <= 100 {
				return nil
			}
			return bad("%q is not a share of the memory", value)
		}
		_, err := ParseBytes(value)
		return err
	case "mode":
		_, err := parseMode(value, 0o7777)
		return err
	case "uid", "gid":
		if _, ok := parseID(value); !ok {
			return bad("%s needs a number, not %q", key, value)
		}
	case "nr_inodes", "nr_blocks":
		_, err := ParseBytes(value) // both take k, m and g
		return err
	case "huge":
		if !slices.Contains([]string{"never", "always", "within_size", "advise"}, value) {
			return bad("unknown value %q of huge", value).hint("it may be never, always, within_size or advise")
		}
	}
	return nil
}

// mountOptions writes them for config.json; what was not said is podman's
// default, except that a tmpfs begins empty, as docker's does: tmpcopyup must
// be asked for, since it costs a copy of what the image has there.
func (o *tmpfsOptions) mountOptions(u execUser) []string {
	var options []string
	for _, pair := range [][]string{
		{"rw", "ro"}, {"rprivate", "private", "shared", "rshared", "slave", "rslave"}, {"nosuid", "suid"}, {"nodev", "dev"},
	} {
		if !slices.ContainsFunc(o.words, func(w string) bool { return slices.Contains(pair, w) }) {
			options = append(options, pair[0])
		}
	}
	for _, word := range o.words {
		options = append(options, canonicalSize(word))
	}
	if o.chown {
		options = append(options, "uid="+strconv.Itoa(int(u.uid)), "gid="+strconv.Itoa(int(u.gid)))
	}
	if o.copyUp {
		options = append(options, "tmpcopyup")
	}
	return options
}

// canonicalSize turns what docker calls a size into bytes: the kernel knows
// neither "1gb" nor "1.5g".
func canonicalSize(word string) string {
	key, value, _ := strings.Cut(word, "=")
	if key != "size" || strings.HasSuffix(value, "%") {
		return word
	}
	n, _ := ParseBytes(value) // was checked when it was set
	return "size=" + strconv.FormatInt(n, 10)
}

// CheckTmpfs says whether these are options of a tmpfs.
func CheckTmpfs(words []string) error {
	var o tmpfsOptions
	for _, word := range words {
		if err := o.set(word); err != nil {
			return err
		}
	}
	return nil
}
