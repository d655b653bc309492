package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"coracle/internal/sandbox"
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// largestFile is what a file of --file may hold: it is read into memory.
const largestFile = 16 << 20

// readFiles reads the descriptors of --file to their ends.
func (s *boxed) readFiles() error {
	for _, word := range s.o.Files {
		number, dest, ok := strings.Cut(word, ":")
		n, err := strconv.ParseUint(number, 10, 20)
		if !ok || err != nil || !path.IsAbs(dest) {
			return &Error{Op: "--file " + word, Err: errors.New("a descriptor's number and an absolute path are wanted"), Help: "--file 3:/etc/hosts 3<hosts"}
		}
		data, err := readDescriptor(int(n))
		if err != nil {
			return &Error{Op: "--file " + word, Err: err, Help: "--file 3:/etc/hosts 3<hosts"}
		}
		s.o.Options.Files = append(s.o.Options.Files, sandbox.File{Dest: dest, Data: data})
	}
	return nil
}

func readDescriptor(n int) ([]byte, error) {
	if !inherited(strconv.Itoa(n)) {
		return nil, fmt.Errorf("descriptor %d is not open", n)
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(n))
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(data) > largestFile {
		err = fmt.Errorf("it is larger than %d MiB", largestFile>>20)
	}
	return data, err
}

// readProfile compiles the filter of --seccomp.
func (s *boxed) readProfile() error {
	if s.o.Seccomp == "" {
		return nil
	}
	fail := func(err error) error {
		return &Error{Op: "--seccomp " + s.o.Seccomp, Err: err, Help: "a profile as docker and the OCI runtime take it"}
	}
	data, err := os.ReadFile(s.o.Seccomp)
	if err != nil {
		return fail(err)
	}
	profile, err := seccomp.LoadProfile(data, nil, runtime.GOARCH)
	if err != nil {
		return fail(err)
	}
	prog, err := seccomp.Compile(profile, runtime.GOARCH)
	switch {
	case err != nil:
		return fail(err)
	case prog.Notify():
		return fail(errors.New("SCMP_ACT_NOTIFY needs a listener"))
	case len(prog.Filter) == 0:
		return fail(errors.New("it refuses nothing"))
	case len(prog.Unknown) > 0:
		return fail(errors.New("it names system calls that do not exist: " + strings.Join(prog.Unknown, ", ")))
	}
	s.filter = &prog
	return nil
}
