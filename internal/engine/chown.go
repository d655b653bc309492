package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// ChownStage is the stage that gives a tree of the host to an id of the
// container (-v SRC:DST:U): only root of the user namespace may.
const ChownStage = "[coracle:chown]"

func (e *Engine) chown(ctx context.Context, m userns.Map, c spec.Chown) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("change the owner of %s: %w", c.Path, err)
	}
	defer r.Close()
	child, err := startSelf(ctx, m, []string{ChownStage, c.Path, fmt.Sprint(c.UID), fmt.Sprint(c.GID)}, w)
	w.Close()
	if err != nil {
		return fmt.Errorf("change the owner of %s: %w", c.Path, err)
	}
	defer child.Close()
	why := make([]byte, 4096)
	n, _ := r.Read(why) // its end, or the reason of the failure
	ws, _, err := child.Wait()
	if err == nil && ws != 0 {
		err = errors.New(strings.TrimSpace(string(why[:n])))
	}
	if err != nil {
		return &Error{Op: "change the owner of " + c.Path + " (mounted on " + c.Destination + " with :U)", Err: err, Help: "leave :U out, or use a directory whose files are yours"}
	}
	return nil
}

// ChownMain is the stage's main: argv is its name, the path, uid and gid;
// descriptor 3 takes the reason of a failure.
func ChownMain() int {
	if len(os.Args) != 4 {
		return 2
	}
	uid, err1 := strconv.Atoi(os.Args[2])
	gid, err2 := strconv.Atoi(os.Args[3])
	err := errors.Join(err1, err2)
	if err == nil {
		err = chownTree(unix.AT_FDCWD, os.Args[1], uid, gid)
	}
	if err != nil {
		fmt.Fprint(os.NewFile(3, "reason"), err)
		return 1
	}
	return 0
}

// chownTree goes down by descriptors and follows no link.
func chownTree(dirfd int, name string, uid, gid int) error {
	fd, err := unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(dir), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := chownTree(dir, n, uid, gid); err != nil {
			return err
		}
	}
	return nil
}
