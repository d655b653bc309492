package spec

import (
	"coracle/internal/plainfile"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// withHome gives env the HOME that the container's user database has for uid,
// if it has none: callers of runc and crun rely on that. root is the container's
// root as we see it; what is in it is the container's doing.
func withHome(env []string, root string, uid uint32) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		return env
	}
	home := "/"
	found, ok := findUser(readInRoot(root, "etc/passwd"), func(e passwdEntry) bool { return e.uid == uid })
	if ok && strings.HasPrefix(found.home, "/") && !strings.Contains(found.home, "\x00") {
		home = found.home
	}
	return append(slices.Clone(env), "HOME="+home)
}

// readInRoot reads a small regular file below root; nothing where that cannot be
// had. No link leads out, and nothing there makes us wait.
func readInRoot(root, name string) []byte {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	fd, err := plainfile.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	var f *os.File
	switch {
	case err == nil:
		f = os.NewFile(uintptr(fd), name)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // no openat2(2); what cannot be read says EACCES
		if f = walkAndRead(dir, name); f == nil {
			return nil
		}
	default:
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	const most = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil
	}
	return data
}

// walkAndRead opens a file for reading without openat2(2).
func walkAndRead(dir int, name string) *os.File {
	copied, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil
	}
	root := os.NewFile(uintptr(copied), "root")
	defer root.Close()
	f, err := walk(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return f
}
