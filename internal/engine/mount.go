package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/fuse"
	"coracle/images"
	"coracle/images/layer"
	"coracle/internal/plainfile"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// An image is mounted at RUNROOT/mounts/NAMESPACE/ID, where NAMESPACE is the inode
// number of the mount namespace: that directory is all the books there are. The
// mount itself ends with the namespace, and the directory goes with the next look
// at such directories, whoever looks.

// ImageMount is an image that is mounted in this mount namespace.
type ImageMount struct {
	ID    digest.Digest
	Names []string
	Path  string
}

func (e *Engine) mountsDir() string { return filepath.Join(e.runRoot, "mounts") }

// mountSpace is this mount namespace, if it is one in which we may mount and that
// ends with what is in it: root's of a user namespace, and owned by that one.
func mountSpace() (string, error) {
	elsewhere := &Error{Err: errors.New("that takes a mount namespace of your own"), Help: "coracle unshare, and then the same in there"}
	own, err := userns.Own()
	if err != nil {
		return "", err
	}
	if os.Geteuid() != 0 || len(own.UIDs) == 1 && own.UIDs[0].Size == 1<<32-1 {
		return "", elsewhere
	}
	var user, mount unix.Stat_t
	if err := errors.Join(unix.Stat("/proc/self/ns/user", &user), unix.Stat("/proc/self/ns/mnt", &mount)); err != nil {
		return "", fmt.Errorf("look at our own namespaces: %w", err)
	}
	ns, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return "", err
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return "", elsewhere // it is that of somebody above us
	}
	defer unix.Close(owner)
	var st unix.Stat_t
	if unix.Fstat(owner, &st) != nil || st.Ino != user.Ino {
		return "", elsewhere
	}
	return strconv.FormatUint(mount.Ino, 10), nil
}

// MountImage mounts an image of the store, read-only, and says where. One that is
// mounted already stays.
func (e *Engine) MountImage(ctx context.Context, name string) (ImageMount, error) {
	space, err := mountSpace()
	if err != nil {
		return ImageMount{}, err
	}
	store, err := e.store()
	if err != nil {
		return ImageMount{}, err
	}
	img, err := store.Lookup(name)
	if err != nil {
		return ImageMount{}, err
	}
	release, err := store.Hold(ctx, img)
	if err != nil {
		return ImageMount{}, err
	}
	defer release()
	m := ImageMount{ID: img.ID, Names: img.Names, Path: filepath.Join(e.mountsDir(), space, img.ID.Encoded())}
	at, err := mountedBelow(e.mountsDir())
	if err != nil || slices.Contains(at, m.Path) {
		return m, err
	}
	root, err := e.imageRoot(ctx, store, img)
	if err != nil {
		return ImageMount{}, err
	}
	// From here on others take it for mounted, and do not remove it.
	if err := errors.Join(e.makeRunRoot(), os.MkdirAll(m.Path, 0o700)); err != nil {
		return ImageMount{}, err
	}
	if err := mountImage(root, m.Path); err != nil {
		_ = os.Remove(m.Path)
		e.sweepMounts()
		return ImageMount{}, err
	}
	return m, nil
}

// imageRoot is how the image is mounted. Its layers are those for the ids that
// this user namespace has, as the namespace above names them: the ones that
// containers outside use, too.
func (e *Engine) imageRoot(ctx context.Context, store *images.Store, img *images.Image) (*fuse.Rootfs, error) {
	if len(img.ChainIDs) == 0 {
		return nil, errors.New("the image has no files")
	}
	var st unix.Stat_t
	if err := unix.Stat(e.root, &st); err != nil {
		return nil, err
	}
	if st.Uid != 0 {
		return nil, &Error{Err: errors.New("the store does not belong to root of this user namespace"), Help: "coracle unshare, without --userns and id maps"}
	}
	own, err := userns.Own()
	if err != nil {
		return nil, err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	src := rootSource{e: e}
	borrowed, err := src.borrowFor(ctx, store, img, own.Class(), stage)
	if err == nil && !borrowed {
		e.warnCopied(store, img, own.Class())
		src.lowers, err = store.Layers(ctx, img, own.Class(), func() (layer.Stage, error) { return stage, nil })
	}
	if err = errors.Join(err, stage.Close()); err != nil {
		return nil, err
	}
	driver := e.driver
	if driver == "" {
		driver = fuse.DriverOverlay
	}
	if driver != fuse.DriverOverlay && len(src.lowers) > 1 {
		return nil, &Error{Err: fmt.Errorf("the storage driver %s cannot: its mounts need a process, or copies", driver), Help: "coracle unpack makes a copy of the files"}
	}
	root, err := fuse.Choose(ctx, fuse.Request{LayersDir: filepath.Join(e.root, "layers"), Lowers: src.lowers, Meta: src.meta, Driver: fuse.DriverOverlay, Cache: e.runRoot})
	return &root, err
}

// mountImage mounts, and makes sure that nothing can be written, whatever the mount
// is: a single layer is the store's own directory.
func mountImage(root *fuse.Rootfs, target string) error {
	if err := root.Mount(target); err != nil {
		return err
	}
	err := unix.MountSetattr(unix.AT_FDCWD, target, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 5.12, or a filter
		var st unix.Statfs_t
		if err = unix.Statfs(target, &st); err == nil { // what is locked has to stay
			keep := uintptr(st.Flags) & (unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME) //nolint:gosec // flags
			err = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|keep, "")
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make the mount %s read-only: %w", target, err), unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// mountedBelow are the mount points below a directory, as this namespace has them.
func mountedBelow(dir string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read what is mounted: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			if at := plainfile.UnescapeMount(f[4]); strings.HasPrefix(at, dir+"/") {
				out = append(out, at)
			}
		}
	}
	return out, nil
}

// ImageMounts lists what is mounted in this namespace.
func (e *Engine) ImageMounts() ([]ImageMount, error) {
	if _, err := mountSpace(); err != nil {
		return nil, err
	}
	at, err := mountedBelow(e.mountsDir())
	if err != nil || len(at) == 0 {
		return nil, err
	}
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	var out []ImageMount
	for _, path := range at {
		m := ImageMount{ID: digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(path)), Path: path}
		if img, err := store.Lookup(string(m.ID)); err == nil {
			m.Names = img.Names
		}
		out = append(out, m)
	}
	return out, nil
}

// UnmountImage ends the mount of an image in this namespace. It fails where
// somebody is using it, unless force is set.
func (e *Engine) UnmountImage(name string, force bool) (digest.Digest, error) {
	space, err := mountSpace()
	if err != nil {
		return "", err
	}
	id, ok := digest.Digest(name), strings.HasPrefix(name, "sha256:") // as ImageMounts has it: the image may be gone
	if !ok || id.Validate() != nil {
		store, err := e.store()
		if err != nil {
			return "", err
		}
		img, err := store.Lookup(name)
		if err != nil {
			return "", err
		}
		id = img.ID
	}
	path := filepath.Join(e.mountsDir(), space, id.Encoded())
	at, err := mountedBelow(e.mountsDir())
	if err != nil {
		return "", err
	}
	if !slices.Contains(at, path) {
		return "", &Error{Err: errors.New("it is not mounted here"), Help: "coracle mount lists what is"}
	}
	flags := unix.UMOUNT_NOFOLLOW
	if force {
		flags |= unix.MNT_DETACH
	}
	if err := unix.Unmount(path, flags); err != nil {
		e := &Error{Err: fmt.Errorf("unmount %s: %w", path, err)}
		if errors.Is(err, unix.EBUSY) {
			e.Help = "a program has a file or its working directory there; --force unmounts when it lets go"
		}
		return "", e
	}
	_ = os.Remove(path)
	_ = os.Remove(filepath.Dir(path))
	_ = os.Remove(e.mountsDir())
	return id, nil
}

// imagesMounted calls each for every image that is mounted in a namespace that
// still is.
func (e *Engine) imagesMounted(each func(id digest.Digest, path string)) error {
	spaces, err := os.ReadDir(e.mountsDir())
	if err != nil {
		if isNotFound(err) {
			return nil
		}
		return fmt.Errorf("list what is mounted: %w", err)
	}
	var alive map[string]bool
	if len(spaces) > 0 {
		alive = mountSpaces()
	}
	for _, space := range spaces {
		dir := filepath.Join(e.mountsDir(), space.Name())
		ids, err := os.ReadDir(dir)
		if err != nil && !isNotFound(err) {
			return err
		}
		for _, id := range ids {
			path := filepath.Join(dir, id.Name())
			if alive[space.Name()] {
				each(digest.NewDigestFromEncoded(digest.SHA256, id.Name()), path)
			} else {
				_ = os.Remove(path)
			}
		}
		if !alive[space.Name()] {
			_ = os.Remove(dir)
		}
	}
	return nil
}

// sweepMounts removes what namespaces have left that are no more.
func (e *Engine) sweepMounts() {
	_ = e.imagesMounted(func(digest.Digest, string) {}) // the next one tries again
	_ = os.Remove(e.mountsDir())                        // only when it is empty
}

// mountSpaces are the mount namespaces that have a process which we may look at.
func mountSpaces() map[string]bool {
	out := map[string]bool{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/mnt")
	for _, l := range links {
		if text, err := os.Readlink(l); err == nil {
			out[strings.TrimSuffix(strings.TrimPrefix(text, "mnt:["), "]")] = true
		}
	}
	return out
}
