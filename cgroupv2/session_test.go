package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOurs: where systemd runs the machine, a place is in what it has delegated.
func TestOurs(t *testing.T) {
	const user = "/m/user.slice/user-7.slice/user@7.service"
	for name, tt := range map[string]struct{ own, delegate, unit, parents string }{
		"login session":              {"/m/user.slice/user-7.slice/session-3.scope", "", "/m/user.slice/user-7.slice/session-3.scope", ""},
		"the manager itself":         {user + "/init.scope", "", user + "/init.scope", ""},
		"a service of the user's":    {user + "/app.slice/x.service", "", user + "/app.slice/x.service", ""},
		"a slice":                    {user + "/app.slice/a-b.slice", "", "", ""},
		"the user's manager":         {user, "", "", ""},
		"a delegated one":            {user + "/app.slice/x.scope", user + "/app.slice/x.scope", user + "/app.slice/x.scope", user + "/app.slice/x.scope"},
		"below a delegated one":      {user + "/app.slice/x.scope/leaf", user + "/app.slice/x.scope", user + "/app.slice/x.scope", user + "/app.slice/x.scope " + user + "/app.slice/x.scope/leaf"},
		"a job of a batch system's":  {"/m/system.slice/slurmstepd.scope/job_1/step_0", "/m/system.slice/slurmstepd.scope", "/m/system.slice/slurmstepd.scope", "/m/system.slice/slurmstepd.scope/job_1 /m/system.slice/slurmstepd.scope/job_1/step_0 /m/system.slice/slurmstepd.scope"},
		"a name that only begins so": {"/m/x.scope2/a", "", "", ""},
	} {
		tree := Tree{Mount: "/m", OwnDir: tt.own, Managed: true, Delegate: tt.delegate}
		if got := tree.unit(); got != tt.unit {
			t.Errorf("%s: unit %q, want %q", name, got, tt.unit)
		}
		if got := strings.Join(tree.parents(), " "); got != tt.parents {
			t.Errorf("%s: places %q, want %q", name, got, tt.parents)
		}
	}
}

func TestMayLeave(t *testing.T) {
	uid := os.Geteuid()
	slice := fmt.Sprintf("/m/user.slice/user-%d.slice", uid)
	manager := fmt.Sprintf("%s/user@%d.service", slice, uid)
	for name, tt := range map[string]struct {
		own, delegate string
		limits        map[string]string
		why           string
	}{
		"login session":             {own: slice + "/session-3.scope"},
		"limits above both":         {own: slice + "/session-3.scope", limits: map[string]string{slice + "/memory.max": "5", slice + "/cpu.max": "5 100"}},
		"a limit of the session":    {own: slice + "/session-3.scope", limits: map[string]string{slice + "/session-3.scope/memory.max": "5"}, why: "memory.max of"},
		"no limit, as files say it": {own: slice + "/session-3.scope", limits: map[string]string{slice + "/session-3.scope/memory.max": "max", slice + "/session-3.scope/cpu.max": "max 100000"}},
		"cron":                      {own: "/m/system.slice/cron.service"},
		"cron, limited":             {own: "/m/system.slice/cron.service", limits: map[string]string{"/m/system.slice/cpuset.cpus": "0"}, why: "cpuset.cpus"},
		"a batch system's":          {own: "/m/system.slice/slurmstepd.scope/job_1", delegate: "/m/system.slice/slurmstepd.scope", why: "was delegated"},
		"the user's own":            {own: manager + "/app.slice/x.scope", delegate: manager + "/app.slice/x.scope"},
		"the user's own, limited":   {own: manager + "/app.slice/x.scope", limits: map[string]string{manager + "/app.slice/x.scope/memory.high": "5"}, why: "memory.high"},
		"out of sight":              {own: "", why: "is not in the tree"},
	} {
		tree := Tree{Mount: "/m", OwnDir: tt.own, Delegate: tt.delegate, Managed: true}
		err := tree.mayLeave(func(dir, file string) string { return tt.limits[dir+"/"+file] })
		if (err == nil) != (tt.why == "") || err != nil && !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %q", name, err, tt.why)
		}
	}
}

// scriptedSystemd is a manager whose scope comes and goes as the words of its
// script say, one for each call.
type scriptedSystemd struct {
	Systemd
	group, dir string // of the tree where scopes are
	exists     bool
	ends       int // so many times the scope ends before it is attached to
	races      int // so many times another makes it first, and leaves again
	calls      []string
}

type busError string

func (e busError) Error() string   { return string(e) }
func (e busError) BusName() string { return "org.freedesktop.systemd1." + string(e) }

func (s *scriptedSystemd) ControlGroup(name string) (string, error) {
	s.calls = append(s.calls, "ask")
	if !s.exists {
		return "", errors.New("it is not running")
	}
	return s.group + "/" + name, nil
}

func (s *scriptedSystemd) Attach(name, below string, pid int) error {
	s.calls = append(s.calls, "attach")
	if s.ends > 0 {
		s.ends--
		s.exists = false
		_ = os.Remove(filepath.Join(s.dir, name, below))
		_ = os.Remove(filepath.Join(s.dir, name))
		return busError("NoSuchUnit")
	}
	return os.WriteFile(filepath.Join(s.dir, name, below, "cgroup.procs"), fmt.Append(nil, pid), 0)
}

func (s *scriptedSystemd) StartScope(name string, p []Property) error {
	s.calls = append(s.calls, "start")
	if s.races > 0 {
		s.races--
		return busError("UnitExists")
	}
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
		return err
	}
	s.exists = true
	for _, x := range p {
		if pids, ok := x.Value.([]uint32); ok {
			return os.WriteFile(filepath.Join(s.dir, name, "cgroup.procs"), fmt.Append(nil, pids[0]), 0)
		}
	}
	return errors.New("no process")
}

// TestEnterShared: whatever happens to the scope meanwhile, we end up in its leaf.
func TestEnterShared(t *testing.T) {
	for script, want := range map[string]string{
		"none":    "ask start ask",
		"there":   "attach",
		"hidden":  "ask attach",
		"ends":    "attach start ask",
		"races":   "ask start ask start ask start ask",
		"refused": "ask start",
	} {
		t.Run(script, func(t *testing.T) {
			tree, name := realTree(t)
			runInside(t, "shared", tree.Mount+name, syscall.SysProcAttr{}, tree.Mount+name, script, want)
		})
	}
}

func insideShared(args []string) error {
	dir, script, want := args[0], args[1], args[2]
	tree, err := Detect()
	if err != nil {
		return err
	}
	s := &scriptedSystemd{group: tree.Own, dir: dir}
	guess := dir + "/" + sharedUnit
	if script == "hidden" {
		guess = ""
	}
	if script == "there" || script == "ends" || script == "hidden" {
		s.exists = true
		if err := os.Mkdir(dir+"/"+sharedUnit, 0o755); err != nil {
			return err
		}
	}
	if script == "ends" {
		s.ends = 1
	}
	if script == "races" {
		s.races = 2
	}
	if script == "refused" {
		s.dir = "/proc/self" // nothing can be made there
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = tree.enter(ctx, s, guess)
	if got := strings.Join(s.calls, " "); got != want {
		return fmt.Errorf("asked systemd to %s, want %s: %w", got, want, err)
	}
	where := tree.Own + "/" + sharedUnit + "/" + launchers
	if script == "refused" {
		if err == nil {
			return errors.New("no error")
		}
		where, err = tree.Own, nil // where we were
	}
	if err != nil {
		return err
	}
	now, err := Detect()
	if err == nil && now.Own != where {
		err = fmt.Errorf("we are in %s, want %s", now.Own, where)
	}
	return err
}

// TestWalkIn: systemd is not asked where the kernel lets us in and somebody is there.
func TestWalkIn(t *testing.T) {
	tree, name := realTree(t)
	runInside(t, "walk", tree.Mount+name, syscall.SysProcAttr{}, tree.Mount+name)
}

func insideWalk(args []string) error {
	dir := args[0] + "/" + sharedUnit
	tree, err := Detect()
	if err != nil {
		return err
	}
	if tree.walkIn("") || tree.walkIn(dir) {
		return errors.New("into what is not there")
	}
	leaf := dir + "/" + launchers
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return err
	}
	if tree.walkIn(dir) {
		return errors.New("into one that is empty, and may end")
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		return err
	}
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	if err := os.WriteFile(leaf+"/cgroup.procs", fmt.Append(nil, other.Process.Pid), 0); err != nil {
		return err
	}
	if !tree.walkIn(dir) {
		return errors.New("not into one that has somebody in it")
	}
	now, err := Detect()
	if want := tree.Own + "/" + sharedUnit + "/" + launchers; err == nil && now.Own != want {
		err = fmt.Errorf("we are in %s, want %s", now.Own, want)
	}
	return err
}

// TestSharedDir: where the scope is, as seen from places that users come from.
func TestSharedDir(t *testing.T) {
	manager := fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", os.Geteuid())
	for name, tt := range map[string]struct{ root, own, want string }{
		"login session":     {"/", filepath.Dir(manager) + "/session-1.scope", "/m" + manager},
		"cron":              {"/", "/system.slice/cron.service", "/m" + manager},
		"a unit of his":     {"/", manager + "/app.slice/x.scope", "/m" + manager},
		"below another":     {"/", "/lxc/a" + manager + "/app.slice/x.scope", "/m/lxc/a" + manager},
		"out of the mount":  {"/x", "/x/y", ""},
		"another namespace": {"/..", "/", ""},
	} {
		tree := Tree{Mount: "/m", Root: tt.root, Own: tt.own}
		tree.OwnDir = tree.dirOf(tt.own)
		want := tt.want
		if want != "" {
			want += "/" + sharedSlice + "/" + sharedUnit
		}
		if got := tree.sharedDir(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// leaving is a scope whose maker goes down into the leaf at the third look.
type leaving struct {
	*fakeKernel
	looks int
}

func (k *leaving) write(dir *os.File, name, value string) error {
	if name == subtreeControl && dir.Name() == k.root+"/scope" {
		if k.looks++; k.looks == 3 {
			k.own = ""
		}
	}
	return k.fakeKernel.write(dir, name, value)
}

func TestCreateSharedWaits(t *testing.T) {
	k := &leaving{fakeKernel: newFake(t, "cpu memory pids")}
	mkdirs(t, k.fakeKernel, "/scope", "/scope/launchers")
	root, err := os.Open(k.root)
	must(t, err)
	defer root.Close()
	must(t, k.fakeKernel.write(root, subtreeControl, "+cpu +memory +pids"))
	k.own, k.sealed = k.root+"/scope", []string{k.root}
	c, err := createShared(k.tree("/scope/launchers"), Config{ID: "x", Resources: parseResources(t, limits)}, k)
	must(t, err)
	defer c.Close()
	if c.Path() != k.root+"/scope/coracle-x" || readIn(c.Path(), "memory.max") != "100" || k.looks != 3 {
		t.Errorf("%s after %d tries", c.Path(), k.looks)
	}
}
