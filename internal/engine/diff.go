package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"coracle/fuse"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Change is a path of a container that is not as in its image.
type Change struct {
	Kind string `json:"k"` // A added, C changed, D deleted
	Path string `json:"p"`
}

// diffRequest says what the stage compares: the container's own layer with the
// layers below, which are the directories that it was given.
type diffRequest struct {
	Lower  *fuse.Rootfs `json:",omitempty"` // an overlay of several; nil: one directory
	Marked bool         // fuse-overlayfs: whiteouts may be files called .wh.NAME
}

// Diff lists what a container has changed in its image's files, by path; of all
// else, and of two, see Compare.
func (e *Engine) Diff(ctx context.Context, name, other string) ([]Change, error) {
	c, err := e.find(name)
	if other != "" || isNotFound(err) {
		all, cerr := e.Compare(ctx, name, other)
		if err != nil && errors.Is(cerr, errNothing) && other == "" {
			return nil, err
		}
		return all, cerr
	}
	if err != nil {
		return nil, err
	}
	p, err := e.readBlueprint(c.ID)
	if err != nil {
		return nil, err
	}
	all, err := e.diff(ctx, c, p)
	if err != nil {
		return nil, fmt.Errorf("compare container %s with its image: %w", c.Name, err)
	}
	return withoutOurs(all, p.Result.Spec.Mounts), nil
}

func (e *Engine) diff(ctx context.Context, c Container, p blueprint) ([]Change, error) {
	root, err := e.diffable(ctx, c, p)
	if err != nil {
		return nil, err
	}
	if root.Kind == fuse.Copy {
		is, err := e.comparableContainer(ctx, c)
		if err != nil {
			return nil, err
		}
		return compareTrees(ctx, comparand{layers: p.Root.Lowers}, is)
	}
	if _, err := os.Lstat(root.Upper); isNotFound(err) {
		return nil, nil // it never ran
	}
	req := diffRequest{Marked: root.Driver == fuse.DriverFuse}
	lowers := p.Root.Lowers
	if p.Root.Meta != "" {
		lowers = []string{p.Root.Meta} // which has all names
	}
	if len(lowers) > 1 {
		req.Lower = &fuse.Rootfs{Kind: fuse.OverlayFS, FSType: "overlay", Params: []fuse.Param{{Key: "userxattr", Flag: true}}}
		for _, l := range lowers {
			req.Lower.Params = append(req.Lower.Params, fuse.Param{Key: "lowerdir+", Value: l})
		}
	}
	client, err := startFiles(ctx, p.IDs.Map, append([]string{root.Upper}, lowers...)...)
	if err != nil {
		return nil, err
	}
	defer client.close()
	return client.diff(req)
}

// diffable says how the root is mounted, if it is one with a layer of its own.
func (e *Engine) diffable(ctx context.Context, c Container, p blueprint) (*fuse.Rootfs, error) {
	if p.Root.Host || p.Root.Direct != "" {
		return nil, &Error{Err: errors.New("it has no image: its root is a directory of the host"), Help: "compare that directory with a copy: diff -r"}
	}
	dir := e.containerDir(c.ID)
	root, err := e.rebuild(&box{Container: c, e: e, dir: dir}, p).root.choose(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	root.Upper = filepath.Join(dir, "upper")
	return root, nil
}

func (c *filesClient) diff(req diffRequest) ([]Change, error) {
	all, err := c.list(filesRequest{Op: "diff", Diff: req})
	slices.SortFunc(all, func(x, y Change) int { return strings.Compare(x.Path, y.Path) })
	return all, err
}

// list asks the stage for changes; the answer, which may be long, comes through a pipe.
func (c *filesClient) list(req filesRequest) ([]Change, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	type answer struct {
		all []Change
		err error
	}
	got := make(chan answer, 1)
	go func() {
		var a answer
		for dec := json.NewDecoder(r); a.err == nil; {
			var one Change
			if a.err = dec.Decode(&one); a.err == nil {
				a.all = append(a.all, one)
			}
		}
		if a.err == io.EOF {
			a.err = nil
		}
		got <- a
	}()
	_, err = c.call(req, w)
	w.Close()
	a := <-got
	return a.all, errors.Join(err, a.err)
}

// ourPaths are made by every start, in whatever container: podman leaves out the
// same.
var ourPaths = [...]string{
	"/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab", "/proc", "/run", "/run/.containerenv", "/run/notify", "/run/secrets", "/sys",
}

// withoutOurs leaves out what the start makes: mount points, what is in them,
// and the files that every container gets.
func withoutOurs(all []Change, mounts []specs.Mount) []Change {
	return slices.DeleteFunc(all, func(c Change) bool {
		if slices.Contains(ourPaths[:], c.Path) {
			return true
		}
		return slices.ContainsFunc(mounts, func(m specs.Mount) bool {
			dest := path.Clean("/" + m.Destination)
			return c.Path == dest || strings.HasPrefix(c.Path, dest+"/")
		})
	})
}
