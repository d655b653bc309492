package spec

import (
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ExecRequest is what the user asks of a further process in a container, with
// docker's and podman's names and meanings. Values are as typed.
type ExecRequest struct {
	Args       []string
	Env        []string // -e, as Options.Env
	EnvFiles   []string // --env-file, before Env
	User       string   // -u user[:group]; "" for the container's own
	Workdir    string   // -w; "" for the container's own
	TTY        bool     // -t
	Privileged bool
}

// PlanExec computes the process that r asks for, and changes nothing. Names of
// users and groups are looked up in the container's own files, as they are now.
// The errors are *OptionError where a flag is refused.
func (c *Container) PlanExec(r ExecRequest, host Host) (*specs.Process, error) {
	s, err := c.Spec()
	if err != nil {
		return nil, err
	}
	if s.Process == nil || s.Linux == nil {
		return nil, fmt.Errorf("read the configuration of container %s: process or linux is missing", c.ID)
	}
	x := &execPlan{r: r, s: s, first: s.Process, host: host}
	x.env.setAll(host.Getenv())
	if r.User != "" {
		if x.passwd, x.group, err = c.userFiles(); err != nil {
			return nil, err
		}
	}
	return x.plan()
}

// userFiles reads the container's user database. What is in it is the
// container's doing, and with a file system of its own (FUSE) it could keep us
// waiting for ever.
func (c *Container) userFiles() (passwd, group []byte, err error) {
	const patience = 5 * time.Second
	root := fmt.Sprintf("/proc/%d/root", c.Pid)
	done := make(chan struct{})
	var files [2][]byte
	go func() {
		defer close(done)
		for i, name := range []string{"etc/passwd", "etc/group"} {
			files[i] = readInRoot(root, name)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		return nil, nil, fmt.Errorf("look up the user: /etc/passwd of container %s cannot be read within %s", c.ID, patience)
	}
	if !c.alive() { // the pid may have been another's meanwhile
		return nil, nil, &idError{c.ID, ErrNotRunning}
	}
	return files[0], files[1], nil
}

// execPlan is PlanExec at work.
type execPlan struct {
	r             ExecRequest
	s             *specs.Spec
	first         *specs.Process // the container's
	host          Host
	env           environment // the caller's
	passwd, group []byte      // read where a user was given
}

func (x *execPlan) plan() (*specs.Process, error) {
	p := *x.first
	p.Args, p.Terminal, p.ConsoleSize, p.CommandLine = x.r.Args, x.r.TTY, nil, ""
	if len(p.Args) == 0 || p.Args[0] == "" {
		return nil, refuse("command", "", "the name of the program is empty")
	}
	if x.r.Workdir != "" {
		if !path.IsAbs(x.r.Workdir) {
			return nil, refuse("--workdir", x.r.Workdir, "must be an absolute path inside the container")
		}
		p.Cwd = x.r.Workdir
	}
	user := execUser{uid: x.first.User.UID, gid: x.first.User.GID}
	if x.r.User != "" {
		var err error
		if user, err = x.user(); err != nil {
			return nil, err
		}
		p.User = specs.User{UID: user.uid, GID: user.gid, Umask: x.first.User.Umask, AdditionalGids: x.groups(user)}
	}
	var err error
	if p.Env, err = x.environ(user); err != nil {
		return nil, err
	}
	p.Capabilities = x.capabilities(user.uid)
	return &p, nil
}

// user is who --user names.
func (x *execPlan) user() (execUser, error) {
	const flag = "--user"
	u, err := resolveUser(x.r.User, x.passwd, x.group)
	if err != nil {
		return u, refused(flag, x.r.User, err)
	}
	for _, id := range []struct {
		kind string
		id   uint32
		m    []specs.LinuxIDMapping
	}{{"user", u.uid, x.s.Linux.UIDMappings}, {"group", u.gid, x.s.Linux.GIDMappings}} {
		if !mapped(id.m, id.id) {
			return u, refuse(flag, x.r.User, "the container has no %s id %d, only %s", id.kind, id.id, ranges(id.m))
		}
	}
	return u, nil
}

// groups are a user's supplementary groups. Except for root the primary one is
// among them, see generator.groups.
func (x *execPlan) groups(u execUser) []uint32 {
	m := x.s.Linux.GIDMappings
	if len(m) == 1 && m[0].Size == 1 {
		return nil // setgroups(2) is denied in a map that the caller wrote alone
	}
	var all []uint32
	if u.uid != 0 {
		all = append(all, u.gid)
	}
	for _, gid := range u.groups {
		if !slices.Contains(all, gid) && mapped(m, gid) {
			all = append(all, gid)
		}
	}
	return all
}

// environ is the container's environment, and then what the flags say.
func (x *execPlan) environ(u execUser) ([]string, error) {
	var env environment
	env.setAll(x.first.Env)
	if u.home != "" && env.get("HOME") == x.ownHome() {
		env.set("HOME", u.home) // nobody chose the other one
	}
	if x.r.TTY && !env.has("TERM") {
		env.set("TERM", "xterm")
	}
	for _, file := range x.r.EnvFiles {
		data, err := x.host.ReadFile(file)
		if err == nil {
			err = env.addFile(data, x.env)
		}
		if err != nil {
			return nil, refused("--env-file", file, err)
		}
	}
	for _, word := range x.r.Env {
		if err := env.add(word, x.env); err != nil {
			return nil, refused("--env", word, err)
		}
	}
	return env, nil
}

// ownHome is the home directory of the container's first process's user.
func (x *execPlan) ownHome() string {
	e, ok := findUser(x.passwd, func(e passwdEntry) bool { return e.uid == x.first.User.UID })
	if !ok || e.home == "" {
		return "/"
	}
	return e.home
}

// capabilities are podman's rules: root has what the container has, or with
// --privileged all that its user namespace gives; the container's own user
// what the container's first process has; anybody else none. The bounding set
// says what a setuid program may give.
func (x *execPlan) capabilities(uid uint32) *specs.LinuxCapabilities {
	var first specs.LinuxCapabilities
	if x.first.Capabilities != nil {
		first = *x.first.Capabilities
	}
	out := &specs.LinuxCapabilities{Bounding: first.Bounding}
	if x.r.Privileged {
		out.Bounding = (&generator{in: &Input{Host: x.host}}).kernelCapabilities()
	}
	switch {
	case uid == 0:
		out.Effective, out.Permitted = out.Bounding, out.Bounding
	case uid == x.first.User.UID:
		out.Effective, out.Permitted, out.Inheritable, out.Ambient = first.Effective, first.Permitted, first.Inheritable, first.Ambient
	}
	return out
}
