package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// projectProfile is the profile that a project brings along. Whoever wrote the project
// wrote it, so it may only take away, until the user has trusted this very content.
const projectProfile = ".coracle.toml"

// projectUp bounds how far up from the current directory it is looked for: to the
// repository's top, or the home directory.
const projectUp = 32

// findProject is the file that holds for a directory; "" for none.
func findProject(dir string) string {
	for range projectUp {
		file := filepath.Join(dir, projectProfile)
		var st unix.Stat_t
		if unix.Lstat(file, &st) == nil {
			return file
		}
		if dir == "/" || dir == os.Getenv("HOME") || unix.Lstat(filepath.Join(dir, ".git"), &st) == nil {
			return ""
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// readProject reads it without waiting for what it may be, and without trust.
func readProject(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err == nil && len(data) > configLimit {
		err = fmt.Errorf("it is larger than %d bytes", configLimit)
	}
	return data, err
}

// projectWords are the flags of the project's profile.
func projectWords(c *config, fields []field, line split) ([]string, error) {
	dir, err := unix.Getwd()
	if err != nil {
		return nil, nil //nolint:nilerr // the sandbox says so
	}
	file := findProject(dir)
	if file == "" {
		return nil, nil
	}
	data, err := readProject(file)
	if err != nil {
		return nil, doing("read the project's profile", file, err)
	}
	p, extends, err := parseProfile(file, data)
	if err != nil {
		return nil, err
	}
	p.settings = placed(p.settings, filepath.Dir(file))
	trust := isTrusted(file, data)
	if extends != "" {
		if !trust && extends != "strict" && extends != "default" {
			return nil, untrusted(file, 1, "extends "+extends)
		}
		base, err := readProfile(extends)
		if err != nil {
			return nil, err
		}
		p.settings = append(base.settings, p.settings...)
	}
	if trust {
		return p.words(fields, line), nil
	}
	kept := p.settings[:0:0]
	for _, s := range p.settings {
		if s.file != file {
			kept = append(kept, s) // strict's
			continue
		}
		if !tightens(s) {
			return nil, untrusted(file, s.line, s.flag)
		}
		if yours(c, fields, line, s.flag) {
			continue // what you have said stands
		}
		kept = append(kept, s)
	}
	p.settings = kept
	return p.words(fields, line), nil
}

func untrusted(file string, line int, what string) error {
	return &usageError{
		msg:  fmt.Sprintf("%s:%d: %s: a project's profile may only tighten, and this would give more", visible(file), line, visible(what)),
		hint: fmt.Sprintf("read it, then: coracle profile trust %s; --profile default goes without", shellWord(file)),
	}
}

// yours says whether the line or a configuration file sets the flag.
func yours(c *config, fields []field, line split, flag string) bool {
	if c.index("sandbox", flag) >= 0 {
		return true
	}
	i := slices.IndexFunc(fields, func(f field) bool { return !f.isArg && f.name == flag })
	return i >= 0 && line.names(fields[i])
}

// tightens says whether a setting takes something away from what holds without it.
func tightens(s configSetting) bool {
	one := ""
	if len(s.values) == 1 {
		one = s.values[0]
	}
	switch s.flag {
	case "hide", "tmpfs", "timeout", "cpu-time", "memory", "cpus", "max-file-size", "max-files", "max-output", "disk", "inodes", "nice":
		return true
	case "filter-escapes":
		return one == "true"
	case "cwd":
		return one == "ro" || one == "none" || one == "overlay"
	case "home":
		return one == "empty"
	case "network":
		return one == "none"
	case "loopback":
		return one == "deny"
	case "on-exit":
		return one == "discard" || one == "keep" || one == "ask"
	case "pids":
		const unsaid = 2048
		n, err := strconv.Atoi(one)
		return err == nil && n > 0 && n <= unsaid
	}
	return false
}

// placed takes relative paths from the file's directory, not from wherever in the
// project the command is started.
func placed(settings []configSetting, dir string) []configSetting {
	for i, s := range settings {
		switch s.flag {
		case "rw", "ro", "rw-try", "ro-try", "overlay", "hide", "tmpfs", "allow-unix", "allow-net-file", "seccomp", "root":
			values := slices.Clone(s.values)
			for k, v := range values {
				image := s.flag == "root" && !strings.HasPrefix(v, ".") // or host, none
				if !filepath.IsAbs(v) && !strings.HasPrefix(v, "~/") && !image {
					values[k] = filepath.Join(dir, v)
				}
			}
			settings[i].values = values
		}
	}
	return settings
}

// trustFile has a line for each content that was trusted: its digest, a space, the file.
func trustFile() string {
	dir := userConfigDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "trusted")
}

func trustLine(file string, data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]) + " " + strconv.Quote(file)
}

func isTrusted(file string, data []byte) bool {
	list, err := readTrusted(trustFile())
	return err == nil && slices.Contains(strings.Split(string(list), "\n"), trustLine(file, data))
}
