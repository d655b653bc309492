package spec

import (
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
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
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
