package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The scope that the user's containers share: one unit of the user's manager,
// delegated, below which containers are plain directories. Whoever makes
// containers enters it with its own process, so that no first process has to be
// moved: it is then born in its cgroup as anywhere else, and further starts of the
// same monitor ask systemd nothing. Only systemd can let a process of a login
// session in: of the two cgroups' common ancestor a user may not write to
// cgroup.procs. A scope that gets empty ends, so it does with the last launcher.
const (
	sharedUnit  = "coracle.scope"
	sharedSlice = "app.slice" // systemd.special(7): where a user's applications are
	launchers   = "launchers" // the leaf that they enter
)

// auto makes a directory where there is a place, and else in the shared scope.
func auto(tree Tree, cfg Config) (*Cgroup, error) {
	files, err := Files(cfg.Resources, Facts{})
	if err != nil {
		return nil, err
	}
	var here error // why it cannot be had where we are
	if tree.writable() {
		c, err := create(tree, cfg, realKernel{})
		if err == nil || !errors.Is(err, ErrUnsupported) {
			return c, err
		}
		here = err
	}
	if cfg.NoBus {
		return nil, ErrNoBus
	}
	why := tree.stays(cfg, len(files) == 0)
	if why == nil {
		var entered Tree
		if entered, why = tree.enterShared(context.Background(), busAddresses(true, os.Geteuid(), os.Getenv)); why == nil {
			c, err := createShared(entered, cfg, realKernel{})
			if err == nil {
				c.notice = tree.outlives(cfg)
			}
			return c, err
		}
	}
	if here != nil {
		return nil, here // which says more
	}
	return refuse(tree, cfg, files, why)
}

// stays says why we are not to enter the shared scope.
func (t Tree) stays(cfg Config, unlimited bool) error {
	if why := t.mayLeave(readIn); why != nil {
		return &hinted{why, "--cgroup-manager systemd leaves it nevertheless"}
	}
	if cfg.Unasked || unlimited && cfg.Path == "" {
		if why := t.outlives(cfg); why != nil {
			return why
		}
	}
	if cfg.Unasked && !cfg.Lasting {
		// logind ends what a session leaves, and the launcher would escape that;
		// and its first question to systemd takes longer than all else.
		return errors.New("what asks for no limit, and ends with its launcher, stays in the session")
	}
	return nil
}

// createShared is create in the shared scope. Who has made the scope is in its own
// cgroup for a moment, until he goes down into the leaf; so long it can give no
// controllers to children.
func createShared(tree Tree, cfg Config, sys kernel) (*Cgroup, error) {
	for range 40 {
		c, err := create(tree, cfg, sys)
		if !errors.Is(err, unix.EBUSY) {
			return c, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return create(tree, cfg, sys)
}

// writable says whether there is a place where we may make a cgroup and enter it.
func (t Tree) writable() bool {
	return slices.ContainsFunc(t.parents(), func(dir string) bool { return mayMake(dir) == nil })
}

// Notice is what the user is to know of a cgroup that was made; mostly nil.
func (c *Cgroup) Notice() error { return c.notice }

// limited are files that hold down who is in a cgroup, and what they say where
// they do not. pids.max is not among them: each unit has one by default.
func limitFiles() map[string]string {
	return map[string]string{"memory.max": "max", "memory.high": "max", "memory.swap.max": "max", "cpu.max": "max", "cpuset.cpus": ""}
}

// mayLeave says why we are not to leave our cgroup for one of the user's manager:
// who has put us into a part of the tree that was delegated to him, as a batch
// system or a container engine, counts on finding us there; and what limits us
// shall limit our containers, too.
func (t Tree) mayLeave(read func(dir, file string) string) error {
	if t.OwnDir == "" {
		return fmt.Errorf("our own cgroup, %s, is not in the tree at %s", t.Own, t.Mount)
	}
	mine := fmt.Sprintf("/user-%d.slice", os.Geteuid())
	if t.Delegate != "" && t.userUnit(t.OwnDir) == "" {
		return fmt.Errorf("%s was delegated to whoever has started us, and is not left", t.Delegate)
	}
	for dir := t.OwnDir; dir != t.Mount && dir != "/"; dir = filepath.Dir(dir) {
		if strings.HasSuffix(dir, mine) || dir == t.userUnit(t.OwnDir) {
			return nil // what is above stays above
		}
		for file, none := range limitFiles() {
			if v := read(dir, file); v != none && !strings.HasPrefix(v, "max ") && v != "" {
				return fmt.Errorf("our own cgroup has limits (%s of %s is %s) that a scope of the service manager's would escape", file, dir, v)
			}
		}
	}
	return nil
}

// outlives says why a container in the user's manager might end before it would
// here: with the user's last session.
func (t Tree) outlives(cfg Config) error {
	if !cfg.Lasting || t.userUnit(t.OwnDir) != "" {
		return nil
	}
	name := fmt.Sprint(os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if unix.Access("/var/lib/systemd/linger/"+name, unix.F_OK) == nil {
		return nil
	}
	linger := "sudo loginctl enable-linger " + name
	return &hinted{fmt.Errorf("your service manager ends with your last session, and what it has with it, unless you linger: %s", linger), linger}
}

// hinted is an error with what to type.
type hinted struct {
	error
	hint string
}

func (e *hinted) Hint() string  { return e.hint }
func (e *hinted) Unwrap() error { return e.error }

// enterShared moves this process into the shared scope, which is made where it is
// not there, and gives the tree as it is seen from there. Our threads go along.
func (t Tree) enterShared(ctx context.Context, buses []busAddress) (Tree, error) {
	dir := t.sharedDir()
	if !t.walkIn(dir) {
		ctx, cancel := context.WithTimeout(ctx, busPatience)
		defer cancel()
		s, err := dialSystemd(ctx, buses)
		if err != nil {
			return Tree{}, &hinted{err, lingerHint()}
		}
		defer s.Close()
		if err := t.enter(ctx, s, dir); err != nil {
			return Tree{}, fmt.Errorf("enter %s: %w", sharedUnit, err)
		}
	}
	tree, err := Detect()
	if err == nil && filepath.Base(tree.Delegate) != sharedUnit {
		err = fmt.Errorf("enter %s: systemd has put us into %s", sharedUnit, tree.Own)
	}
	return tree, err
}

// sharedDir is where the scope is if it is there, "" where that cannot be told: the
// slice is of our own choice, and the user's manager mostly where systemd has it.
func (t Tree) sharedDir() string {
	manager := t.userUnit(t.OwnDir)
	if manager == "" {
		manager = t.dirOf(fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", os.Geteuid()))
	}
	if manager == "" {
		return ""
	}
	return filepath.Join(manager, sharedSlice, sharedUnit)
}

// walkIn enters the scope without a word to systemd, where the kernel lets us:
// that is from units of the same manager, and into what was delegated to us. Not
// where nobody else is: an empty scope may be about to end.
func (t Tree) walkIn(dir string) bool {
	leaf := filepath.Join(dir, launchers)
	m := maker{tree: t}
	if dir == "" || !inhabited(leaf) || mayWrite(filepath.Join(m.common(leaf), "cgroup.procs")) != nil {
		return false
	}
	return os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0) == nil && inhabited(leaf)
}

// inhabited says whether others than we are in a cgroup.
func inhabited(dir string) bool {
	self := strconv.Itoa(os.Getpid())
	return slices.ContainsFunc(strings.Fields(readIn(dir, "cgroup.procs")), func(pid string) bool { return pid != self })
}

// enter joins the scope, which is probably in dir, or makes it. One that ends at
// this moment is not there for the next try, and one that somebody makes at this
// moment is.
func (t Tree) enter(ctx context.Context, s Systemd, dir string) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := t.joinShared(s, dir)
		if err == nil {
			return nil
		}
		started := s.StartScope(sharedUnit, sharedProperties(os.Getpid()))
		if started == nil {
			return t.settleShared(s)
		}
		if !isBusName(started, "UnitExists") {
			return both(started, err)
		}
		select {
		case <-ctx.Done():
			return both(context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}

func lingerHint() string {
	return "is your service manager running? sudo loginctl enable-linger " + currentHost().name
}

// joinShared enters the scope that is there. systemd, which does one thing after the
// other, lets nobody into one that has ended, and does not end one that somebody is in.
func (t Tree) joinShared(s Systemd, dir string) error {
	if dir == "" || makeLeaf(dir) != nil {
		var err error
		if dir, err = t.askShared(s); err == nil {
			err = makeLeaf(dir)
		}
		if err != nil {
			return err
		}
	}
	if err := s.Attach(sharedUnit, "/"+launchers, os.Getpid()); err != nil {
		return fmt.Errorf("attach to %s: %w", sharedUnit, err)
	}
	return nil
}

// settleShared goes down into the leaf of the scope that was made for us.
func (t Tree) settleShared(s Systemd) error {
	dir, err := t.askShared(s)
	if err != nil {
		return err
	}
	if err := makeLeaf(dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, launchers, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter %s: %w", sharedUnit, err)
	}
	return nil
}

func makeLeaf(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, launchers), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	return nil
}

// askShared has systemd say where the scope is.
func (t Tree) askShared(s Systemd) (string, error) {
	group, err := s.ControlGroup(sharedUnit)
	if err != nil {
		return "", err
	}
	dir := t.dirOf(group)
	if dir == "" || filepath.Base(dir) != sharedUnit {
		return "", fmt.Errorf("find the cgroup of %s: systemd says %q, which the tree at %s does not show", sharedUnit, group, t.Mount)
	}
	return dir, nil
}

// sharedProperties are the shared scope's. It is no limit itself: a default of the
// manager's for the number of tasks would be one for all containers together.
func sharedProperties(pid int) []property {
	return []property{
		prop("Description", "containers of coracle"),
		prop("Slice", sharedSlice),
		prop("PIDs", []uint32{uint32(pid)}),
		prop("Delegate", true),
		prop("TasksMax", ^uint64(0)),
		prop("CollectMode", "inactive-or-failed"),
	}
}

// isBusName tells errors of systemd's by the last word of their D-Bus name.
func isBusName(err error, name string) bool {
	var e interface{ BusName() string }
	return errors.As(err, &e) && strings.HasSuffix(e.BusName(), "."+name)
}
