package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Config says which cgroup a container asks for.
type Config struct {
	ID string // of the container
	// Path is linux.cgroupsPath: absolute below the mount of the tree, or
	// relative to a place that is ours to choose (Tree.Place); empty for
	// coracle-ID there.
	Path      string
	Resources *specs.LinuxResources
	// Systemd has the service manager make the cgroup, a transient scope; Path
	// is then slice:prefix:name. It is the user's manager for Rootless, and
	// wherever we are not real root. Annotations are those of config.json, for
	// org.systemd.property.NAME.
	Systemd     bool
	Rootless    bool
	Annotations map[string]string
	// Auto enters the scope that all of the user's containers share where there is
	// no place that is ours already (session.go). Lasting says that the container
	// is to outlive the session that we are in, Unasked that the limits are
	// defaults of ours, for which nobody would give up that.
	Auto    bool
	Lasting bool
	Unasked bool
	// UserNamespace: the container gets one. Where no device program can be
	// loaded, it is what keeps Resources.Devices, of which Devices
	// (linux.devices) are the nodes that it has.
	UserNamespace bool
	Devices       []specs.LinuxDevice
	// NoBus is for a caller without UseBus: where systemd is needed, ErrNoBus says
	// so, and nothing was done.
	NoBus bool
	// Required makes it an error when there can be no cgroup.
	Required bool
	// Tree is what Detect has just found; nil: New looks.
	Tree *Tree
	// Before, where there is one, is told the path of a cgroup that is about to be
	// made: whoever is killed meanwhile leaves a note of it.
	Before func(path string) error
}

// New makes the cgroup of a container and writes its limits. All or nothing:
// what was made is removed on failure. Without limits, path and a writable
// place the Cgroup is empty, and says why by Reason. A scope of systemd's is
// Pending, and made by AddProcess.
func New(cfg Config) (*Cgroup, error) {
	tree, err := cfg.tree()
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	if err := tree.offers(cfg); err != nil {
		return nil, err
	}
	if cfg.Systemd && cfg.NoBus {
		return nil, ErrNoBus
	}
	if cfg.Systemd {
		return plan(tree, cfg)
	}
	if cfg.Auto && tree.Managed && !strings.HasPrefix(cfg.Path, "/") {
		return auto(tree, cfg)
	}
	return create(tree, cfg, realKernel{})
}

func (c Config) tree() (Tree, error) {
	if c.Tree != nil {
		return *c.Tree, nil
	}
	return Detect()
}

// offers refuses, before anything is done, what needs a controller that the whole
// tree has not.
func (t Tree) offers(cfg Config) error {
	if t.Mount == "" {
		return nil // said by who needs it
	}
	files, err := Files(cfg.Resources, Facts{})
	if err != nil {
		return err
	}
	missing := without(controllers(files), t.Controllers)
	if len(missing) == 0 {
		return nil
	}
	e := &enableError{dir: t.Mount, names: missing, v1: len(without(missing, t.V1)) == 0}
	return &FieldError{Field: e.field(files), Reason: "cannot be enforced: " + e.Error(), kind: ErrUnsupported, hint: t.hint(currentHost(), e)}
}

func create(tree Tree, cfg Config, sys kernel) (*Cgroup, error) {
	names, err := cfg.names()
	if err != nil {
		return nil, err
	}
	files, err := Files(cfg.Resources, Facts{})
	if err != nil {
		return nil, err
	}
	where := tree.parents()
	if strings.HasPrefix(cfg.Path, "/") && tree.Mount != "" {
		where = []string{tree.Mount}
	}
	if len(where) == 0 {
		return refuse(tree, cfg, files, errors.New(tree.lacking()))
	}
	var refused error
	for _, dir := range where {
		m := maker{tree: tree, sys: sys}
		c, err := m.make(dir, names, cfg)
		if err == nil {
			return c, nil
		}
		m.undo()
		var field *FieldError
		if errors.As(err, &field) && !errors.Is(err, ErrUnsupported) || errors.Is(err, ErrNotEmpty) {
			return nil, err
		}
		// What counts is the place that was best, and of those where a cgroup
		// could be made.
		if refused == nil || errors.As(err, &field) && !errors.As(refused, &field) {
			refused = err
		}
	}
	return refuse(tree, cfg, files, refused)
}

// refuse ends without a cgroup: an error when something was asked for.
func refuse(tree Tree, cfg Config, files []File, why error) (*Cgroup, error) {
	var field *FieldError
	if errors.As(why, &field) {
		return nil, why
	}
	if cfg.Path == "" && len(files) == 0 && !cfg.Required {
		c := &Cgroup{tree: tree, reason: "no cgroup: " + why.Error()}
		if err := c.devices(cfg); err != nil {
			return nil, err
		}
		return c, nil
	}
	e := &FieldError{Field: pathField, Reason: "no cgroup can be made", kind: ErrUnsupported, Err: why, hint: tree.hint(currentHost(), nil)}
	var hinted interface{ Hint() string }
	if errors.As(why, &hinted) && hinted.Hint() != "" {
		e.hint = hinted.Hint()
	}
	if len(files) > 0 {
		e.Field, e.Reason = files[0].Field, "cannot be enforced, for no cgroup can be made"
	}
	return nil, e
}

// names are the directories to make below the place that is chosen.
func (cfg Config) names() ([]string, error) {
	path := cfg.Path
	if path == "" {
		if cfg.ID == "" || strings.ContainsAny(cfg.ID, "/\n\x00") {
			return nil, &FieldError{Field: "id", Reason: fmt.Sprintf("%q cannot name a cgroup", cfg.ID), kind: ErrBadRequest}
		}
		return []string{"coracle-" + cfg.ID}, nil
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "", name == ".":
		case name == "..":
			return nil, pathError("%q: .. leads out of where a cgroup may be", path)
		case len(name) > unix.NAME_MAX, strings.ContainsAny(name, "\n\x00"):
			return nil, pathError("%q: no name for a cgroup", name)
		case strings.HasPrefix(name, "cgroup."), isController(name):
			// cgroup_name checks nothing: such a directory would stand where
			// the kernel wants to put a file.
			return nil, pathError("%q: the kernel has files of that name", name)
		default:
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, pathError("%q is the root of the tree, which is no container's", path)
	}
	return names, nil
}

func isController(name string) bool {
	controller, _, ok := strings.Cut(name, ".")
	return ok && slices.Contains([]string{"cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma", "misc", "dmem"}, controller)
}

func pathError(format string, args ...any) error {
	return &FieldError{Field: pathField, Reason: fmt.Sprintf(format, args...), kind: ErrBadRequest}
}

// maker makes one cgroup, and knows what it did.
type maker struct {
	tree    Tree
	sys     kernel
	made    []string                   // directories, topmost first
	enabled []struct{ dir, on string } // writes to cgroup.subtree_control
	c       *Cgroup
}

func (m *maker) make(dir string, names []string, cfg Config) (*Cgroup, error) {
	path := filepath.Join(append([]string{dir}, names...)...)
	if cfg.Before != nil {
		if err := cfg.Before(path); err != nil {
			return nil, err
		}
	}
	if err := m.mkdirs(dir, path); err != nil {
		return nil, err
	}
	if err := mayWrite(filepath.Join(m.common(path), "cgroup.procs")); err != nil && m.tree.OwnDir != "" {
		return nil, fmt.Errorf("move processes from %s to %s: %w", m.tree.OwnDir, path, err)
	}
	c, err := openDir(path)
	if err != nil {
		return nil, err
	}
	m.c = c
	c.sys, c.tree, c.ref.Made = m.sys, m.tree, len(m.made)
	if d := m.tree.Delegate; d != "" && m.tree.userUnit(d) != "" && strings.HasPrefix(path, d+"/") {
		c.ref.Scope = filepath.Base(d)
	}
	if err := c.fresh(); err != nil {
		return nil, err
	}
	if err := m.limits(c, cfg.Resources); err != nil {
		return nil, err
	}
	if err := c.devices(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// mkdirs makes the directories from below dir to path. One that is there
// already is used, but for an empty leaf that a dead container left: it may
// have old limits, so it is made anew.
func (m *maker) mkdirs(dir, path string) error {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	at := dir
	names := strings.Split(rel, "/")
	for i, name := range names {
		at = filepath.Join(at, name)
		err := m.sys.mkdir(at)
		if errors.Is(err, os.ErrExist) && i == len(names)-1 && m.sys.rmdir(at) == nil {
			err = m.sys.mkdir(at)
		}
		switch {
		case err == nil:
			m.made = append(m.made, at)
		case errors.Is(err, os.ErrExist):
		default:
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return nil
}

// common is the deepest directory that our cgroup and path share.
func (m *maker) common(path string) string {
	own := m.tree.OwnDir
	dir := filepath.Dir(path)
	for dir != m.tree.Mount && dir != "/" && own != dir && !strings.HasPrefix(own, dir+"/") {
		dir = filepath.Dir(dir)
	}
	return dir
}

// fresh refuses a cgroup that others use, or that would freeze the container's
// first process.
func (c *Cgroup) fresh() error {
	events, err := c.events()
	if errors.Is(err, os.ErrNotExist) {
		return nil // made just now by a test's kernel
	}
	if err != nil {
		return err
	}
	if events["populated"] != 0 {
		return fmt.Errorf("use cgroup %s: %w: processes run in it", c.ref.Path, ErrNotEmpty)
	}
	if events["frozen"] != 0 {
		return fmt.Errorf("use cgroup %s: %w: it is frozen", c.ref.Path, ErrNotEmpty)
	}
	return nil
}

// limits enables the controllers and writes the files.
func (m *maker) limits(c *Cgroup, r *specs.LinuxResources) error {
	files, err := Files(r, Facts{})
	if err != nil || len(files) == 0 {
		return err
	}
	if err := m.enable(filepath.Dir(c.ref.Path), files); err != nil {
		return err
	}
	// Now that the files are there, what they are decides the conversion.
	if files, err = Files(r, c.facts()); err != nil {
		return err
	}
	for _, f := range files {
		if err := c.set(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cgroup) facts() Facts {
	swaps, err := os.ReadFile("/proc/swaps")
	return Facts{
		Read: func(name string) (string, bool) {
			s, err := readAt(c.dir, name)
			// Some files can only be written.
			return s, err == nil || !errors.Is(err, os.ErrNotExist)
		},
		NoSwap: err == nil && strings.Count(string(swaps), "\n") <= 1,
	}
}

// set writes one file; the error has the name of the field.
func (c *Cgroup) set(f File) error {
	err := c.write(f.Name, f.Value)
	if err == nil {
		return nil
	}
	e := &FieldError{Field: f.Field, Reason: "the kernel refuses " + f.Value, Err: err, kind: ErrBadRequest}
	switch {
	case errors.Is(err, ErrGone):
		e.kind = ErrGone
	case errors.Is(err, os.ErrNotExist):
		e.Reason, e.kind = "the kernel has no such file here", ErrUnsupported
	case errors.Is(err, os.ErrPermission):
		e.Reason, e.kind = "the file is not ours to write", ErrUnsupported
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
		e.kind = ErrUnsupported
	}
	return e
}

// undo removes what was made, as far as it can.
func (m *maker) undo() {
	if m.c != nil {
		m.c.Close()
	}
	for _, dir := range slices.Backward(m.made) {
		_ = m.sys.rmdir(dir)
	}
	for _, e := range slices.Backward(m.enabled) {
		_ = writeControl(m.sys, e.dir, strings.ReplaceAll(e.on, "+", "-"))
	}
}
