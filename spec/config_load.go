package spec

import (
	"errors"
	"fmt"
	"io"
	"os"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxConfig bounds what is read into memory of a config.json. Docker's largest,
// with its whole seccomp profile, has 0.1 MB; what the kernel takes as arguments
// and environment of one process is 6 MB at most.
const maxConfig = 16 << 20

// ConfigError names the part of a configuration that is wrong or cannot be had.
type ConfigError = plainjson.Error

// LoadConfig reads a config.json (runtime-spec v1.3.0 config.md). It knows the
// types, not yet whether the values can be had: Validate does. What is wrong
// is a *ConfigError.
func LoadConfig(r io.Reader) (*specs.Spec, error) {
	s := new(specs.Spec)
	return s, load(r, s)
}

// LoadProcess reads the process object of exec --process.
func LoadProcess(r io.Reader) (*specs.Process, error) {
	p := new(specs.Process)
	return p, load(r, p)
}

// LoadResources reads the resources object of update --resources.
func LoadResources(r io.Reader) (*specs.LinuxResources, error) {
	res := new(specs.LinuxResources)
	return res, load(r, res)
}

func load(r io.Reader, into any) error {
	data, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return err
	}
	if len(data) > maxConfig {
		return tooLarge()
	}
	return plainjson.Decode(data, into)
}

func tooLarge() error {
	return &ConfigError{Path: "", Msg: fmt.Sprintf("more than %d MiB", maxConfig>>20)}
}

// LoadBundle reads the config.json of a bundle.
func LoadBundle(dir string) (*specs.Spec, error) {
	data, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	s := new(specs.Spec)
	if err := plainjson.Decode(data, s); err != nil {
		return nil, fmt.Errorf("%s/config.json: %w", dir, err)
	}
	return s, nil
}

// EncodeConfig writes a config.json as LoadConfig reads it. It is json.Marshal but
// for the escapes of HTML, and ten times as fast at its first use.
func EncodeConfig(s *specs.Spec) ([]byte, error) { return plainjson.Encode(s) }

// ReadConfig reads the bytes of a bundle's config.json.
func ReadConfig(dir string) ([]byte, error) {
	name := dir + "/config.json"
	dirfd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(dirfd)
	// O_NONBLOCK: not to wait for the writer of a named pipe.
	fd, err := unix.Openat(dirfd, "config.json", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if st.Size > maxConfig {
		return nil, fmt.Errorf("%s: %w", name, tooLarge())
	}
	data, err := readSized(fd, name, int(st.Size), maxConfig)
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("%s: %w", name, tooLarge()) // it has grown
	}
	return data, err
}
