package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openIDMapped clones the sources of mounts with other ids than their files'
// (options idmap and ridmap, config.md#posix-platform-mounts) and leaves them in
// x for Compile. It has to be the launcher: the kernel asks for privilege over
// the file system, which the container's user namespace never has. The clones
// are the caller's to close (closeIDMapped).
func openIDMapped(ctx context.Context, s *specs.Spec, x *Extra, container userns.Map) error {
	o := idmapper{ctx: ctx, s: s, container: container}
	defer o.close()
	for i := range s.Mounts {
		m := &s.Mounts[i]
		opts := parseMountOpts(m.Options)
		if !opts.idmap && !opts.ridmap && len(m.UIDMappings)+len(m.GIDMappings) == 0 {
			continue
		}
		f, err := o.open(x, m, &opts)
		if err != nil {
			closeIDMapped(x)
			return fmt.Errorf("mounts[%d]: idmap of %s: %w", i, m.Source, err)
		}
		if x.mapped == nil {
			x.mapped = make(map[int]*os.File)
		}
		x.mapped[i] = f
	}
	return nil
}

func closeIDMapped(x *Extra) {
	for _, f := range x.mapped {
		f.Close()
	}
	x.mapped = nil
}

// idmapper makes user namespaces for maps, each once.
type idmapper struct {
	ctx       context.Context //nolint:containedctx // lives as long as one call
	s         *specs.Spec
	container userns.Map
	made      []mappedNS
}

type mappedNS struct {
	ids  userns.Map
	file *os.File
}

func (o *idmapper) close() {
	for _, n := range o.made {
		n.file.Close()
	}
}

func (o *idmapper) open(x *Extra, m *specs.Mount, opts *mountOpts) (*os.File, error) {
	switch {
	case !isBind(m, opts):
		return nil, errors.New("only a bind mount can have it")
	case !opts.idmap && !opts.ridmap:
		return nil, errors.New("uidMappings and gidMappings need the option idmap or ridmap")
	case (len(m.UIDMappings) == 0) != (len(m.GIDMappings) == 0):
		return nil, errors.New("uidMappings and gidMappings go together")
	}
	switch {
	case x.lacks.mounts:
		return nil, errNoMounts()
	case x.lacks.setattr:
		return nil, &MissingCallError{"mount_setattr", "5.12", release()}
	}
	ns, err := o.namespace(m)
	if err != nil {
		return nil, err
	}
	tree, all := uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), uint(unix.AT_EMPTY_PATH)
	if opts.rbind || !opts.bind {
		tree |= unix.AT_RECURSIVE
	}
	if opts.ridmap {
		all |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, x.hostPath(m.Source), tree)
	if err != nil {
		return nil, fmt.Errorf("clone its mount: %w", err)
	}
	f := os.NewFile(uintptr(fd), m.Source)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", all, &attr); err != nil {
		f.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: it takes privilege over the source's file system", err)
		}
		return nil, err
	}
	return f, nil
}

// namespace is a user namespace with the mount's own map, or the container's.
func (o *idmapper) namespace(m *specs.Mount) (*os.File, error) {
	if len(m.UIDMappings) > 0 {
		return o.withMap(userns.Map{UIDs: m.UIDMappings, GIDs: m.GIDMappings})
	}
	for _, ns := range o.s.Linux.Namespaces {
		if ns.Type != specs.UserNamespace {
			continue
		}
		if ns.Path == "" {
			return o.withMap(o.container)
		}
		f, err := os.Open(ns.Path)
		if err != nil {
			return nil, fmt.Errorf("the container's user namespace: %w", err)
		}
		o.made = append(o.made, mappedNS{file: f})
		return f, nil
	}
	return nil, errors.New("without uidMappings and gidMappings it takes those of the container's user namespace, and it has none")
}

func (o *idmapper) withMap(ids userns.Map) (*os.File, error) {
	for _, n := range o.made {
		if slices.Equal(n.ids.UIDs, ids.UIDs) && slices.Equal(n.ids.GIDs, ids.GIDs) {
			return n.file, nil
		}
	}
	f, err := userns.WithMap(o.ctx, ids)
	if err != nil {
		return nil, err
	}
	o.made = append(o.made, mappedNS{ids, f})
	return f, nil
}

// idmapped leaves the launcher's clone in c.mount.
func (c *child) idmapped(i int, label string) {
	fd := ^uintptr(0) // a plan that is only printed
	if f := c.x.mapped[i]; f != nil {
		fd = f.Fd()
	}
	c.p.Call(label+": take its idmapped mount", unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 3).To(c.mount)
}
