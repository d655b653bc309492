package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// stdioFile is beside CRIU's images and has what descriptors 0 to 2 were, by
// the names that CRIU gives to what comes from outside.
const stdioFile = "descriptors.json"

// stdio says what the first three descriptors are, and which of them CRIU has
// to take for external: files that are mounted nowhere in the container.
func (c *Container) stdio() (names [3]string, external []string, err error) {
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", c.Pid))
	if err != nil {
		return names, nil, err
	}
	for fd := range names {
		path := fmt.Sprintf("/proc/%d/fd/%d", c.Pid, fd)
		link, err := os.Readlink(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return names, nil, err
		}
		if names[fd] = link; !filepath.IsAbs(link) {
			continue
		}
		name, inside, err := externalName(path, fmt.Sprintf("/proc/%d/fdinfo/%d", c.Pid, fd), string(mounts))
		if err != nil {
			return names, nil, err
		}
		if !inside {
			names[fd] = name
			external = append(external, name)
		}
	}
	slices.Sort(external)
	return names, slices.Compact(external), nil
}

// externalName is file[MOUNT:INODE] in hexadecimal, criu(8) --external.
func externalName(path, info, mounts string) (name string, inside bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", false, fmt.Errorf("look at %s: %w", path, err)
	}
	data, err := os.ReadFile(info)
	if err != nil {
		return "", false, err
	}
	var mount uint64
	for line := range strings.Lines(string(data)) {
		_, _ = fmt.Sscanf(line, "mnt_id: %d", &mount) // the one line that has it
	}
	for line := range strings.Lines(mounts) {
		inside = inside || strings.HasPrefix(line, fmt.Sprintf("%d ", mount))
	}
	return fmt.Sprintf("file[%x:%x]", mount, st.Ino), inside, nil
}

// inherited are the caller's standard streams, by the names of those of the
// checkpoint that came from outside.
func (m *making) inherited(images string) (names []string, files []*os.File, err error) {
	data, err := readSmall(filepath.Join(images, stdioFile))
	var old []string
	if err == nil {
		err = json.Unmarshal(data, &old)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s of the checkpoint: %w", stdioFile, err)
	}
	for i, name := range old {
		outside := strings.HasPrefix(name, "pipe:") || strings.HasPrefix(name, "file[")
		if i < len(m.o.Extra.Stdio) && outside && m.o.Extra.Stdio[i] != nil && !slices.Contains(names, name) {
			names, files = append(names, name), append(files, m.o.Extra.Stdio[i])
		}
	}
	return names, files, nil
}
