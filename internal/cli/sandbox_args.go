package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"coracle/internal/engine"

	"golang.org/x/sys/unix"
)

// largestArgs is what --args may read.
const largestArgs = 4 << 20

// expand puts what descriptors hold in the place of --args. words were parsed: the
// first --args among them is the sandbox's own.
func (c *sandboxCmd) expand(words []string) ([]string, error) {
	for _, n := range c.Result.Args {
		read, err := readArgs(n)
		if err != nil {
			return nil, &engine.Error{Op: "--args " + n, Err: err, Help: `printf '--ro\0%s\0' /srv | coracle sandbox --args 0 -- COMMAND`}
		}
		at := slices.IndexFunc(words, func(w string) bool { return w == "--args" || strings.HasPrefix(w, "--args=") })
		if at < 0 {
			return nil, &usageError{msg: "sandbox: --args stands in a configuration file", hint: "leave it out there"}
		}
		end := at + 1
		if words[at] == "--args" {
			end++
		}
		words = slices.Concat(words[:at], read, words[end:])
	}
	return words, nil
}

// readArgs reads words that each end with a zero byte.
func readArgs(n string) ([]string, error) {
	f, err := descriptor(n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestArgs+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > largestArgs:
		return nil, fmt.Errorf("it holds more than %d MiB", largestArgs>>20)
	case len(data) == 0:
		return nil, nil
	}
	words := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	for _, w := range words {
		if w == "--args" || strings.HasPrefix(w, "--args=") {
			return nil, errors.New("it names --args itself")
		}
	}
	return words, nil
}

// descriptor is a copy of one of ours.
func descriptor(word string) (*os.File, error) {
	n, err := strconv.ParseUint(word, 10, 20)
	if err != nil {
		return nil, errors.New("that is no descriptor's number")
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 { // those that we have opened are all closed on exec
		return nil, errors.New("that descriptor is not open")
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "descriptor "+word), nil
}
