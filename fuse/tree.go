package fuse

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// TreeRequest asks for one tree that shows what the overlay of Lowers would.
type TreeRequest struct {
	Lowers []string `json:"lowers"` // topmost first
	Dst    string   `json:"dst"`    // made; its parent exists
	// UIDs and GIDs move the owners (see Translate); empty: they stay.
	UIDs []Segment `json:"uids,omitempty"`
	GIDs []Segment `json:"gids,omitempty"`
}

// TreeStats are what a tree has become.
type TreeStats struct {
	Inodes int64 `json:"inodes"` // all kinds, each hard link once
	Files  int64 `json:"files"`  // regular files among them
	Bytes  int64 `json:"bytes"`  // of data copied, whether shared with the source or not
	Cloned int64 `json:"cloned"` // files whose data is shared with the source (FICLONE)
	Copied int64 `json:"copied"` // files whose data was copied
	// Unmapped are inodes whose owner the new map does not reach; they belong
	// to root there.
	Unmapped int64 `json:"unmapped"`
}

// BuildMeta makes the metadata tree of a stack of layers for another id map:
// every inode is there, with its owners moved, but a file has only its size
// and the name of its data (user.overlay.metacopy, user.overlay.redirect).
// Mounted with lowerdir+=DST and the layers as datadir+, it shows the image in
// the new map without a byte of it being copied.
//
// A redirect is the file's own path: the kernel asks the data layers from the
// top, and what the merged tree shows at a path is what the first layer that
// has the path holds. Of a hard link that would not be true for a name that
// another layer covers; in the merged tree such a name does not occur.
//
// It runs as uid 0 of a namespace that has all ids of the layers, and needs no
// /proc, so that it can run in the store stage, chrooted into the store. Best
// is the namespace with the new map: there most files are root's when they are
// made, and need no chown. (The segments are the same as with the old map:
// both lead from the id that an owner has to the one that it must have, in
// whichever numbers the process sees them.) A failed tree is left as it is:
// the caller builds beside the final name, removes, or renames.
func BuildMeta(ctx context.Context, r TreeRequest) (TreeStats, error) {
	return build(ctx, r, metaOnly)
}

// BuildLent is BuildMeta of layers that were unpacked without the data that somebody
// else's have (layer.Request.Lender): what they have themselves is copied. Mounted
// with the lender's layers as datadir+.
func BuildLent(ctx context.Context, r TreeRequest) (TreeStats, error) {
	return build(ctx, r, lentOnly)
}

// CopyLayers makes a full copy of what a stack of layers shows, by FICLONE
// where the file system can: the last resort where nothing can be mounted, and
// the way to other ids where BuildMeta's trees cannot be. It runs where
// BuildMeta does.
func CopyLayers(ctx context.Context, r TreeRequest) (TreeStats, error) {
	return build(ctx, r, withData)
}

// treeKind says what becomes of a file's data.
type treeKind int

const (
	metaOnly treeKind = iota
	lentOnly          // files that are lent as in metaOnly, others as in withData
	withData
)

// builder is one tree in the making. Directories are shared out between
// goroutines (see tree_queue.go); what these share is below mu.
type builder struct {
	kind  treeKind
	ids   ids
	ctx   context.Context // of one build: the walk is recursive, and every directory asks
	root  int             // the new tree
	umask uint32          // of this process: what open(2) takes from a mode
	uid   int             // and its ids: what is made belongs to them,
	gid   int             // …
	chown bool            // unless the file system has its own ideas

	todo queue

	mu        sync.Mutex
	links     map[inode]string // hard links: the first name, relative to root
	stats     TreeStats
	err       error
	noFICLONE bool
}

type inode struct{ dev, ino uint64 }

func build(ctx context.Context, r TreeRequest, kind treeKind) (TreeStats, error) {
	if len(r.Lowers) == 0 {
		return TreeStats{}, fmt.Errorf("%w: a tree of no layers", ErrBadRequest)
	}
	b := &builder{
		kind: kind, ids: ids{r.UIDs, r.GIDs}, ctx: ctx, root: -1, uid: unix.Geteuid(), gid: unix.Getegid(),
		links: map[inode]string{},
	}
	top := &dirPair{}
	for _, l := range r.Lowers {
		fd, err := unix.Open(l, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			top.close()
			return TreeStats{}, fmt.Errorf("open the layer %s: %w", l, err)
		}
		top.src = append(top.src, fd)
		if opaqueDir(fd) {
			break
		}
	}
	if err := b.start(top, r.Dst); err != nil {
		top.close()
		return TreeStats{}, err
	}
	b.fail(b.all(top))
	return b.stats, b.err
}

// start makes the new tree, and sees by its mode what the umask is: asking for
// it would set it for every goroutine.
func (b *builder) start(top *dirPair, dst string) error {
	if err := unix.Mkdir(dst, 0o777); err != nil {
		return fmt.Errorf("make the tree %s: %w", dst, err)
	}
	fd, err := unix.Open(dst, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the tree %s: %w", dst, err)
	}
	top.dst, b.root = fd, fd
	for _, a := range [...]string{"system.posix_acl_access", "system.posix_acl_default"} {
		_ = unix.Fremovexattr(fd, a) // what the directory above hands down; most often there is none
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat the tree %s: %w", dst, err)
	}
	b.umask = 0o777 &^ st.Mode
	b.chown = int(st.Uid) != b.uid || int(st.Gid) != b.gid // setgid above, mounted with grpid, NFS that squashes root
	if err := unix.Fchmod(fd, 0o700); err != nil {
		return fmt.Errorf("close the tree %s to others: %w", dst, err)
	}
	return nil
}

func (b *builder) fail(err error) {
	if err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) failed() error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *builder) count(add func(*TreeStats)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	add(&b.stats)
}

// dirPair is a directory of the merged view and its copy.
type dirPair struct {
	src  []int  // readable descriptors, topmost first
	dst  int    // likewise
	path string // relative to the root: "" or "usr/bin"
	left int    // subdirectories that are still to be opened: the queue's
}

func (d *dirPair) close() {
	for _, fd := range d.src {
		_ = unix.Close(fd)
	}
	if d.dst > 0 {
		_ = unix.Close(d.dst)
	}
	d.src, d.dst = nil, 0
}

func (d *dirPair) join(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// dir fills one directory, then gives it its own metadata. Its subdirectories,
// whose names it returns, come later: their contents do not touch its times.
func (b *builder) dir(d *dirPair) (subs []string, err error) {
	if err := b.failed(); err != nil {
		return nil, err
	}
	subs, err = b.entries(d)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.src[0], &st); err != nil {
		return nil, fmt.Errorf("stat /%s: %w", d.path, err)
	}
	if err := b.finish(&source{fd: d.src[0]}, d.dst, &st, d.path); err != nil {
		return nil, err
	}
	b.count(func(s *TreeStats) { s.Inodes++ })
	return subs, nil
}

// open opens a subdirectory in every layer that adds to it, and its copy.
func (d *dirPair) open(name string) (*dirPair, error) {
	sub := &dirPair{path: d.join(name)}
	for _, parent := range d.src {
		fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			continue
		}
		if (err == unix.ENOTDIR || err == unix.ELOOP) && len(sub.src) > 0 {
			break // a whiteout or a file: nothing below it shows
		}
		if err != nil {
			sub.close()
			return nil, fmt.Errorf("open /%s: %w", sub.path, err)
		}
		sub.src = append(sub.src, fd)
		if opaqueDir(fd) {
			break
		}
	}
	fd, err := unix.Openat(d.dst, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		sub.close()
		return nil, fmt.Errorf("open the copy of /%s: %w", sub.path, err)
	}
	sub.dst = fd
	return sub, nil
}

func opaqueDir(fd int) bool { return fxattr(fd, xattrOpaque) == "y" }

// fxattr reads a one-byte attribute.
func fxattr(fd int, name string) string {
	var v [1]byte
	n, err := unix.Fgetxattr(fd, name, v[:])
	if err != nil || n != 1 {
		return ""
	}
	return string(v[:])
}
