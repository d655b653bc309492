package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const asUserEnv = "CORACLE_USERNS_TEST_AS_USER"

// asUser runs the rest of a test as a user with subordinate ids: it returns
// true in that process. Started as root, it starts the test again as one,
// and reports what came of it.
func asUser(t *testing.T, change func(*exec.Cmd)) bool {
	t.Helper()
	if os.Getenv(asUserEnv) != "" {
		return true
	}
	if os.Getuid() != 0 {
		uids, gids, err := SubIDs(t.Context(), Identity{UID: uint32(os.Getuid()), Name: os.Getenv("USER")}, "", "")
		if len(uids) == 0 || len(gids) == 0 {
			mustWork(t, "this user has no subordinate ids", err)
		}
		if change != nil {
			mustWork(t, "start as another user", errors.New("root is needed"))
		}
		return true
	}
	u := testUser(t)
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), asUserEnv+"=1", "HOME=/tmp", "TMPDIR=/tmp", "XDG_RUNTIME_DIR=")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if change != nil {
		change(cmd)
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("as %s: %v\n%s", u.Username, err, out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		// A renamed or skipped test would otherwise pass for a good one.
		mustWork(t, "as "+u.Username, fmt.Errorf("%s", out))
	}
	return false
}

// testUser is somebody with subordinate ids; CI gets one made.
func testUser(t *testing.T) *user.User {
	t.Helper()
	data, _ := os.ReadFile("/etc/subuid")
	groups, _ := os.ReadFile("/etc/subgid")
	for _, l := range subIDLines(string(data)) {
		u, err := user.Lookup(l.Owner)
		if err == nil && u.Uid != "0" && strings.Contains(string(groups), l.Owner+":") {
			return u
		}
	}
	if os.Getenv("CORACLE_MUST_WORK") != "1" {
		t.Skip("no user with subordinate ids")
	}
	const name = "coracle-userns"
	if out, err := exec.Command("useradd", "-M", name).CombinedOutput(); err != nil {
		t.Fatalf("make a test user: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("userdel", name).Run() })
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// child starts a process in a user namespace that waits.
func child(t *testing.T) *Child {
	t.Helper()
	var p Program
	p.Call("end", unix.SYS_EXIT_GROUP, 0)
	c, err := Start(&p, unix.CLONE_NEWUSER)
	if err != nil {
		mustWork(t, "user namespaces", err)
	}
	t.Cleanup(c.Abort)
	return c
}

func mapsOf(t *testing.T, c *Child) (string, string, string) {
	t.Helper()
	var out [3]string
	for i, name := range []string{"uid_map", "gid_map", "setgroups"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.PID, name))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = strings.Join(strings.Fields(string(b)), " ")
	}
	return out[0], out[1], out[2]
}

func caller(t *testing.T) Identity {
	t.Helper()
	id, err := Caller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// resolveReal is Resolve on this machine without a fallback.
func resolveReal(t *testing.T, req Request) Resolved {
	t.Helper()
	r, err := Resolve(t.Context(), caller(t), req)
	if err != nil {
		t.Fatal(err)
	}
	if r.Notice != "" {
		mustWork(t, r.Notice, errors.New(r.Hint))
	}
	return r
}

func procText(e []mapping) string {
	return strings.Join(strings.Fields(mapText(e)), " ")
}

func TestWriteMapWithHelpers(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	for _, req := range []Request{{}, {Userns: "keep-id"}, {Userns: "nomap"}, {Userns: "keep-id:uid=7,gid=9"}, {UIDMaps: []string{"0:5:10", "10:0"}}} {
		r := resolveReal(t, req)
		c := child(t)
		if err := WriteMap(t.Context(), c.PID, r.Map); err != nil {
			t.Fatalf("%+v: %v (%s)", req, err, hintOf(err))
		}
		uids, gids, setgroups := mapsOf(t, c)
		if uids != procText(r.Map.UIDs) || gids != procText(r.Map.GIDs) || setgroups != "allow" {
			t.Errorf("%+v: the kernel has %s / %s, setgroups %s; wanted %s / %s", req, uids, gids, setgroups, procText(r.Map.UIDs), procText(r.Map.GIDs))
		}
	}
}

func TestWriteMapSingle(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	id := caller(t)
	m := Map{ownID(id.UID), ownID(id.GID)}
	c := child(t)
	// No helper is needed: a machine without any will do.
	if err := (system{root: "", path: nil}).writeMap(t.Context(), c.PID, m); err != nil {
		t.Fatal(err)
	}
	uids, gids, setgroups := mapsOf(t, c)
	if uids != procText(m.UIDs) || gids != procText(m.GIDs) || setgroups != "deny" {
		t.Errorf("%s / %s, setgroups %s", uids, gids, setgroups)
	}
	if err := WriteMap(t.Context(), c.PID, m); err == nil {
		t.Error("a map was written twice")
	}
}

func TestWriteMapNotGranted(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	r := resolveReal(t, Request{})
	m := Map{append(ownID(caller(t).UID), mapping{ContainerID: 1, HostID: 1, Size: 5}), r.Map.GIDs}
	err := WriteMap(t.Context(), child(t).PID, m)
	var e *RestrictedError
	if !errors.As(err, &e) || e.Cause != CauseNotAllowed || !strings.Contains(err.Error(), "not allowed") || e.Hint() == "" {
		t.Errorf("%v", err)
	}
}

func TestWriteMapPlainHelper(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	r := resolveReal(t, Request{})
	// The same programs without their privilege.
	s := system{root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(s.root, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		path, _ := realSystem().find(name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.root, "usr/bin", name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := s.writeMap(t.Context(), child(t).PID, r.Map)
	var e *RestrictedError
	if !errors.As(err, &e) || e.Cause != CauseHelperPrivilege || !strings.Contains(e.Hint(), "setcap cap_setuid+ep") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
	s = system{root: t.TempDir()}
	err = s.writeMap(t.Context(), child(t).PID, r.Map)
	if !errors.As(err, &e) || e.Cause != CauseNoHelper || e.Hint() == "" {
		t.Errorf("without any: %v", err)
	}
}

func TestWriteMapNoNewPrivs(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	runtime.LockOSThread() // it is of this thread only, and for good: no UnlockOSThread
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	h := realSystem().helperFacts(Identity{})
	if !h.NoNewPrivs {
		t.Error("it is not seen")
	}
	if why, hint := h.shortage(""); !strings.Contains(why, "no_new_privs") || hint == "" {
		t.Errorf("%q, %q", why, hint)
	}
}

func TestHelpersRunSideBySide(t *testing.T) {
	// Each of the two ends only when it has seen the other start.
	dir := t.TempDir()
	const script = "#!/bin/sh\n: >%s/%s\ni=0\nwhile [ ! -e %s/%s ]; do i=$((i+1)); [ $i -lt 400 ] || { echo alone >&2; exit 1; }; sleep 0.01; done\n"
	s := fakeRoot(t, map[string]string{
		"usr/bin/newuidmap*": fmt.Sprintf(script, dir, "u", dir, "g"),
		"usr/bin/newgidmap*": fmt.Sprintf(script, dir, "g", dir, "u"),
	})
	var errs []error
	var helpers []*mapper
	for _, k := range idKinds(mapOf(t, "0:1000:1 1:2000:2")) {
		h, err := s.startMapper(k, 1)
		if err != nil {
			t.Fatal(err)
		}
		helpers = append(helpers, h)
	}
	for _, h := range helpers {
		errs = append(errs, h.wait(t.Context()))
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestHelperIsCancelled(t *testing.T) {
	s := fakeRoot(t, map[string]string{"usr/bin/newuidmap*": "#!/bin/sh\nexec sleep 100\n"})
	h, err := s.startMapper(idKinds(mapOf(t, "0:1000:1 1:2000:2"))[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := h.wait(ctx); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("%v", err)
	}
	if err := unix.Kill(h.pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the helper is still there: %v", err)
	}
}

func TestAfterNewgrp(t *testing.T) {
	// sg and newgrp leave a group that newgidmap will not map.
	other := func(cmd *exec.Cmd) {
		cmd.SysProcAttr.Credential.Groups = []uint32{cmd.SysProcAttr.Credential.Gid}
		cmd.SysProcAttr.Credential.Gid = 33
	}
	if !asUser(t, other) {
		return
	}
	id := caller(t)
	if id.GID != 33 || id.LoginGID == 0 {
		t.Fatalf("%+v", id)
	}
	r := resolveReal(t, Request{})
	c := child(t)
	err := WriteMap(t.Context(), c.PID, r.Map)
	var e *RestrictedError
	if errors.As(err, &e) && e.Cause == CauseLoginGroup && e.Hint() != "" {
		return // shadow before 4.14 refuses, and that is said
	}
	if err != nil {
		t.Fatalf("%v (%s)", err, hintOf(err))
	}
	if _, gids, _ := mapsOf(t, c); gids != procText(r.Map.GIDs) || r.GID != 0 {
		t.Errorf("%s, caller %d", gids, r.GID)
	}
}

func TestProbe(t *testing.T) {
	if !asUser(t, nil) {
		return
	}
	if err := Probe(t.Context()); err != nil {
		mustWork(t, "user namespaces", err)
	}
	if err := TryMap(t.Context(), resolveReal(t, Request{}).Map); err != nil {
		t.Error(err)
	}
	// A range that newuidmap refuses must not pass.
	m := mapOf(t, fmt.Sprintf("0:%d:1 1:1:5", os.Getuid()))
	var e *RestrictedError
	if err := TryMap(t.Context(), m); !errors.As(err, &e) || e.Cause != CauseNotAllowed {
		t.Errorf("%v", err)
	}
}

// TestProbeIsRefused has real refusals by this kernel explained.
func TestProbeIsRefused(t *testing.T) {
	for _, c := range []struct {
		setup, run string
		cause      Cause
	}{
		{"echo 0 >/proc/sys/user/max_user_namespaces", "exec", CauseMaxNamespaces},
		{"mount --rbind / /mnt", "exec chroot /mnt", CauseChroot},
		{"true", "exec", CauseSeccomp},
		{"true", "exec", "none"},
	} {
		t.Run(string(c.cause), func(t *testing.T) {
			exe, err := os.Open("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			defer exe.Close()
			// A user and a mount namespace of its own: nothing of the host changes.
			script := c.setup + " && " + c.run + ` /proc/self/fd/3 -test.run='^TestProbeChild$' -test.v`
			cmd := exec.Command("unshare", "-Um", "--map-root-user", "sh", "-c", script)
			cmd.ExtraFiles = []*os.File{exe}
			cmd.Dir = "/"
			cmd.Env = append(os.Environ(), "CORACLE_USERNS_PROBE="+string(c.cause))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestProbeChild") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestProbeChild is the inner half of TestProbeIsRefused.
func TestProbeChild(t *testing.T) {
	cause := os.Getenv("CORACLE_USERNS_PROBE")
	if cause == "" {
		return
	}
	if cause == string(CauseSeccomp) {
		refuseClone(t)
	}
	err := Probe(t.Context())
	if cause == "none" {
		// Root of a namespace with one id: no helper is needed for what it has.
		r, rerr := Resolve(t.Context(), caller(t), Request{})
		if err = errors.Join(err, rerr, TryMap(t.Context(), r.Map)); err != nil || !r.Single || r.Map.UIDs[0].HostID != 0 {
			t.Errorf("%+v: %v", r, err)
		}
		return
	}
	var e *RestrictedError
	if !errors.As(err, &e) || string(e.Cause) != cause || e.Hint() == "" {
		t.Errorf("got %v, want %s", err, cause)
	}
}

// refuseClone puts a filter on this process as docker's: no clone into a new
// user namespace.
func refuseClone(t *testing.T) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its flags
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_NEWUSER, Jf: 1},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatal(errno)
	}
}

// BenchmarkWriteMap compares the helpers side by side with one after the
// other, and with writing a single id oneself.
func BenchmarkWriteMap(b *testing.B) {
	id, err := Caller(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	r, err := Resolve(b.Context(), id, Request{})
	if err != nil || r.Single {
		b.Skip(r.Notice, err)
	}
	s := realSystem()
	for _, c := range []struct {
		name  string
		write func(pid int) error
	}{
		{"side-by-side", func(pid int) error { return WriteMap(b.Context(), pid, r.Map) }},
		{"in-turn", func(pid int) error {
			for _, k := range idKinds(r.Map) {
				h, err := s.startMapper(k, pid)
				if err != nil {
					return err
				}
				if err := h.wait(b.Context()); err != nil {
					return err
				}
			}
			return nil
		}},
		{"newuidmap-alone", func(pid int) error {
			h, err := s.startMapper(idKinds(r.Map)[0], pid)
			if err != nil {
				return err
			}
			return h.wait(b.Context())
		}},
		{"single", func(pid int) error { return WriteMap(b.Context(), pid, SingleMap(id.UID, id.GID)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				var p Program
				p.Call("end", unix.SYS_EXIT_GROUP, 0)
				ch, err := Start(&p, unix.CLONE_NEWUSER)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				err = c.write(ch.PID)
				b.StopTimer()
				ch.Abort()
				b.StartTimer()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	for b.Loop() {
		id, err := Caller(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Resolve(b.Context(), id, Request{}); err != nil {
			b.Fatal(err)
		}
	}
}
