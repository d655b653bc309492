package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"golang.org/x/sys/unix"
)

// The configuration changes the defaults of flags: keys at the top of a file are
// the global flags and those of sharedKeys, tables are commands, and their keys
// are the command's flags (docs/man/coracle.toml.5). What the command line says
// goes before the user's file, that before the system's, that before what is
// built in. `coracle oci` reads none: its callers expect what runc does.

const (
	systemConfig = "/etc/coracle/config.toml"
	// configLimit is far above what flags can be said with.
	configLimit = 1 << 20
	noConfig    = "none" // of --config
)

// config is what the files say, each key once, and where.
type config struct {
	files    []configFile
	settings []configSetting
}

// configFile is a place where a file is looked for.
type configFile struct {
	Path string `json:"path"`
	Read bool   `json:"read"` // there is one
}

// configSetting is one key of a file, checked against the command's flags.
type configSetting struct {
	command string // "" for keys at the top
	flag    string // its name, not one of its aliases
	kind    unstable.Kind
	values  []string
	file    string
	line    int
}

// configPlaces are the files that are read, the strongest last.
func configPlaces(named string) []string {
	switch named {
	case "":
	case noConfig:
		return nil
	default:
		return []string{named}
	}
	places := []string{systemConfig}
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return places
		}
		dir = filepath.Join(home, ".config")
	}
	return append(places, filepath.Join(dir, "coracle", "config.toml"))
}

// loadConfig reads the files, which with must have to be there.
func loadConfig(places []string, must bool) (*config, error) {
	c := &config{}
	for _, path := range places {
		data, err := readTrusted(path)
		switch {
		case err != nil && !must && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)):
			c.files = append(c.files, configFile{Path: path})
			continue
		case err != nil:
			return nil, doing("read the configuration", path, err)
		}
		c.files = append(c.files, configFile{Path: path, Read: true})
		found, err := parseConfig(path, data)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		c.merge(found)
	}
	return c, nil
}

// defaults reads the files for a command line and gives the flags that they set.
func (a *app) defaults(p *parser, line split) ([]string, error) {
	if c, ok := p.cmd.(interface{ configless() }); ok {
		c.configless()
		return nil, nil
	}
	if a.places == nil {
		return nil, nil
	}
	named := ""
	for _, word := range line.flags {
		if path, ok := strings.CutPrefix(word, "--config="); ok {
			named = path
		}
	}
	c, err := loadConfig(a.places(named), named != "")
	if err != nil {
		return nil, err
	}
	a.config, a.typed = c, line.flags
	p.defaultHidden(c)
	words := c.words(p.entry.name, p.fields, p.hidden, line)
	if own, ok := p.cmd.(interface {
		profileWords(c *config, fields []field, line split) ([]string, error)
	}); ok && named != noConfig {
		more, err := own.profileWords(c, p.fields, line)
		return append(words, more...), err
	}
	return words, nil
}

// A script that only asks for the version does not fail by a file's fault.
func (*versionCmd) configless() {}

// merge puts the settings of a stronger file in the place of the same keys.
func (c *config) merge(stronger []configSetting) {
	for _, s := range stronger {
		if i := c.index(s.command, s.flag); i >= 0 {
			c.settings[i] = s
		} else {
			c.settings = append(c.settings, s)
		}
	}
}

func (c *config) index(command, flag string) int {
	if c == nil {
		return -1
	}
	for i, s := range c.settings {
		if s.command == command && s.flag == flag {
			return i
		}
	}
	return -1
}

// find is the setting for a flag of a command: its table's, else the top's.
func (c *config) find(command, flag string) (configSetting, bool) {
	i := c.index(command, flag)
	if i < 0 {
		i = c.index("", flag)
	}
	if i < 0 {
		return configSetting{}, false
	}
	return c.settings[i], true
}

// words are the flags that the files set and the line does not, as if typed.
func (c *config) words(command string, fields, hidden []field, line split) []string {
	var out []string
	if len(c.settings) == 0 {
		return nil
	}
	for _, f := range fields {
		if f.isArg || line.names(f) {
			continue
		}
		s, ok := c.find(command, f.name)
		isHidden := func(g field) bool { return f.isCalled(g.name) }
		if !ok || s.command == "" && slices.ContainsFunc(hidden, isHidden) { // at the top it is the global flag
			continue
		}
		for _, value := range s.values {
			out = append(out, "--"+f.name+"="+f.escaped(value))
		}
	}
	return out
}

// readTrusted reads a file that decides what a command does. Who could write to
// it could make every container of the caller's privileged, so it must belong to
// the caller or to root, it and its directory, and nobody else may write there.
// (A directory further up that others can write to lets them put a file of their
// own there, which is then not the caller's.)
func readTrusted(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var file, dir unix.Stat_t
	if err := unix.Fstat(fd, &file); err != nil {
		return nil, err
	}
	if file.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is not a regular file")
	}
	if file.Size > configLimit {
		return nil, fmt.Errorf("it is larger than %d bytes", configLimit)
	}
	if err := trusted(&file, path); err != nil {
		return nil, err
	}
	if err := unix.Stat(filepath.Dir(path), &dir); err != nil {
		return nil, err
	}
	// In a directory with the sticky bit others cannot replace it.
	if dir.Mode&unix.S_ISVTX == 0 {
		if err := trusted(&dir, filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	data := make([]byte, file.Size)
	n := 0
	for n < len(data) {
		some, err := unix.Read(fd, data[n:])
		if err != nil {
			return nil, err
		}
		if some == 0 {
			break // it was cut short meanwhile
		}
		n += some
	}
	return data[:n:n], nil
}

// trusted says no to what somebody else owns or can write to. An ACL shows in
// the group's bits.
func trusted(st *unix.Stat_t, path string) error {
	// In a user namespace without the host's root, its files are nobody's.
	system := func() bool {
		var etc unix.Stat_t
		return unix.Stat("/etc", &etc) == nil && st.Uid == etc.Uid
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() && !system() {
		return &usageError{
			msg:  fmt.Sprintf("%s belongs to user %d, who could change what your containers may do", path, st.Uid),
			hint: "it must be yours or root's; --config none goes without",
		}
	}
	if st.Mode&0o022 == 0 {
		return nil
	}
	return &usageError{
		msg:  fmt.Sprintf("others can write to %s (mode %04o) and change what your containers may do", path, st.Mode&0o7777),
		hint: "chmod go-w " + shellWord(path),
	}
}

// shellWord is a word as a shell takes it.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if word != "" && strings.TrimLeftFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
