package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Outlook is what New would make, as far as that can be seen without making it.
type Outlook struct {
	Path  string // the directory, or the scope by its name; "" for none
	None  string // why there would be none
	Files []File // what would be written there, in this order
}

// Foresee looks at what New would do, and changes nothing. What New would refuse it
// refuses in the same words, but for values that only the kernel can judge.
func Foresee(cfg Config) (Outlook, error) {
	tree, err := Detect()
	if err != nil {
		return Outlook{}, fmt.Errorf("look for cgroups: %w", err)
	}
	if err := tree.offers(cfg); err != nil {
		return Outlook{}, err
	}
	if cfg.Systemd {
		c, err := plan(tree, cfg)
		if err != nil {
			return Outlook{}, err
		}
		return Outlook{Path: filepath.Join(c.pending.unit.slice, c.pending.unit.name), Files: c.pending.files}, nil
	}
	return tree.outlook(cfg)
}

func (t Tree) outlook(cfg Config) (Outlook, error) {
	names, err := cfg.names()
	if err != nil {
		return Outlook{}, err
	}
	files, err := Files(cfg.Resources, Facts{})
	if err != nil {
		return Outlook{}, err
	}
	dir, err := t.foresee(cfg, files)
	if err != nil {
		c, err := refuse(t, cfg, files, err)
		if err != nil {
			return Outlook{}, err
		}
		return Outlook{None: c.reason}, nil
	}
	return Outlook{Path: filepath.Join(append([]string{dir}, names...)...), Files: files}, nil
}

// foresee finds the directory that the cgroup would be made in.
func (t Tree) foresee(cfg Config, files []File) (string, error) {
	where := t.parents()
	absolute := strings.HasPrefix(cfg.Path, "/") && t.Mount != ""
	if absolute {
		where = []string{t.Mount}
	}
	refused := errors.New(t.lacking())
	for i, dir := range where {
		err := t.wouldTake(cfg, dir, files)
		if err == nil {
			return dir, nil
		}
		if i == 0 || isField(err) && !isField(refused) {
			refused = err
		}
	}
	if !cfg.Auto || !t.Managed || absolute {
		return "", refused
	}
	why := t.stays(cfg, len(files) == 0)
	if why == nil {
		if dir := t.sharedDir(); dir != "" {
			if _, why = os.Stat(filepath.Dir(filepath.Dir(dir))); why == nil {
				return dir, t.lends(filepath.Dir(filepath.Dir(dir)), files)
			}
			why = &hinted{fmt.Errorf("find your service manager's cgroup: %w", why), lingerHint()}
		}
	}
	if t.writable() || why == nil {
		return "", refused
	}
	return "", why
}

func isField(err error) bool {
	var field *FieldError
	return errors.As(err, &field)
}

// wouldTake says why no cgroup with these files can be made below a directory.
func (t Tree) wouldTake(cfg Config, dir string, files []File) error {
	parent := dir
	if rel := filepath.Dir(strings.Trim(cfg.Path, "/")); cfg.Path != "" && rel != "." {
		parent = filepath.Join(dir, rel)
	}
	there := parent // what of it is there
	for there != dir && unix.Access(there, unix.F_OK) != nil {
		there = filepath.Dir(there)
	}
	if err := mayWrite(there); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	m := maker{tree: t}
	if err := mayWrite(filepath.Join(m.common(filepath.Join(parent, "x")), "cgroup.procs")); err != nil && t.OwnDir != "" {
		return fmt.Errorf("move processes from %s to %s: %w", t.OwnDir, parent, err)
	}
	return t.fieldOf(t.couldEnable(there, controllers(files)), files)
}

// couldEnable is what enableIn does, without doing it.
func (t Tree) couldEnable(dir string, want []string) error {
	missing := without(want, strings.Fields(readIn(dir, subtreeControl)))
	if len(missing) == 0 {
		return nil
	}
	if above := without(missing, strings.Fields(readIn(dir, "cgroup.controllers"))); len(above) > 0 {
		if dir == t.Mount {
			return &enableError{dir: dir, names: above, v1: len(without(above, t.V1)) == 0}
		}
		if err := t.couldEnable(filepath.Dir(dir), above); err != nil {
			return err
		}
	}
	if err := mayWrite(filepath.Join(dir, subtreeControl)); err != nil {
		return &enableError{dir: dir, names: missing, err: err}
	}
	if readIn(dir, "cgroup.type") != "" && readIn(dir, "cgroup.procs") != "" { // the root of all has no type
		return &enableError{dir: dir, names: missing, err: unix.EBUSY}
	}
	return nil
}

// lends says which controllers the user's manager has none of to lend to a scope.
func (t Tree) lends(manager string, files []File) error {
	missing := without(controllers(files), strings.Fields(readIn(manager, "cgroup.controllers")))
	if len(missing) == 0 {
		return nil
	}
	return t.fieldOf(&enableError{dir: manager, names: missing, err: unix.EACCES}, files)
}

// fieldOf names what of config.json asked for controllers that cannot be had.
func (t Tree) fieldOf(err error, files []File) error {
	var e *enableError
	if !errors.As(err, &e) {
		return err
	}
	return &FieldError{Field: e.field(files), Reason: "cannot be enforced: " + e.Error(), Err: e.err, kind: ErrUnsupported, hint: t.hint(currentHost(), e)}
}
