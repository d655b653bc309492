package cgroupv2

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const (
	managerName = "org.freedesktop.systemd1"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
)

// fakeManager answers on a socket as systemd's manager does, over cgroups of
// the real kernel.
type fakeManager struct {
	t       *testing.T
	dir     string // the cgroup where scopes are made
	group   string // the same as the tree names it
	own     bool   // the manager's own socket, not a bus
	exists  string // a unit that has failed
	result  string // of jobs
	version string

	mu    sync.Mutex
	calls []string
}

func (m *fakeManager) listen() busAddress {
	path := filepath.Join(m.t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	must(m.t, err)
	m.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c)
		}
	}()
	return busAddress{path, m.own}
}

// serve speaks the server's side: the handshake by lines, then messages.
func (m *fakeManager) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	_, _ = in.ReadByte() // the NUL that carries credentials
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch words := strings.Fields(line); {
		case len(words) == 1 && words[0] == "AUTH":
			fmt.Fprint(c, "REJECTED EXTERNAL\r\n")
		case words[0] == "AUTH": // without an id: ask, and take the kernel's word
			fmt.Fprint(c, "DATA\r\n")
		case words[0] == "DATA":
			fmt.Fprint(c, "OK 1234deadbeef\r\n")
		case words[0] == "NEGOTIATE_UNIX_FD":
			fmt.Fprint(c, "ERROR\r\n")
		}
		if strings.HasPrefix(line, "BEGIN") {
			break
		}
	}
	for serial := uint32(1); ; serial += 2 {
		msg, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		body, errName, signal := m.answer(msg)
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(msg.Serial()), dbus.FieldSender: dbus.MakeVariant(managerName),
		}}
		if errName != "" {
			reply.Type = dbus.TypeError
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(errName)
		}
		m.send(c, reply, serial, body)
		if signal != nil {
			m.send(c, &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldPath: dbus.MakeVariant(managerPath), dbus.FieldInterface: dbus.MakeVariant(managerName + ".Manager"),
				dbus.FieldMember: dbus.MakeVariant("JobRemoved"), dbus.FieldSender: dbus.MakeVariant(managerName),
			}}, serial+1, signal)
		}
	}
}

func (m *fakeManager) send(c net.Conn, msg *dbus.Message, serial uint32, body []any) {
	msg.Body = body
	if len(body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var b strings.Builder
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		m.t.Error(err)
		return
	}
	raw := []byte(b.String())
	binary.LittleEndian.PutUint32(raw[8:], serial)
	_, _ = c.Write(raw)
}

func (m *fakeManager) said() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

func (m *fakeManager) answer(msg *dbus.Message) (body []any, errName string, signal []any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	member, _ := msg.Headers[dbus.FieldMember].Value().(string)
	call := member
	for _, a := range msg.Body {
		call += fmt.Sprintf(" %v", a)
	}
	m.calls = append(m.calls, call)
	job := dbus.ObjectPath("/org/freedesktop/systemd1/job/7")
	done := func() []any { return []any{uint32(7), job, "unit", m.result} }
	move := func(name string, pids []uint32) {
		for _, pid := range pids {
			if err := os.WriteFile(filepath.Join(m.dir, name, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
				m.t.Error(err)
			}
		}
	}
	switch member {
	case "Hello":
		return []any{":1.5"}, "", nil
	case "Get":
		if msg.Body[1] == "Version" {
			return []any{dbus.MakeVariant(m.version)}, "", nil
		}
		return []any{dbus.MakeVariant(m.group + "/coracle-x.scope")}, "", nil
	case "StartTransientUnit":
		name := msg.Body[0].(string)
		if m.exists == name {
			return []any{"Unit " + name + " was already loaded"}, managerName + ".UnitExists", nil
		}
		must(m.t, os.MkdirAll(filepath.Join(m.dir, name), 0o755))
		for _, p := range msg.Body[2].([][]any) {
			if p[0] == "PIDs" {
				move(name, p[1].(dbus.Variant).Value().([]uint32))
			}
		}
		return []any{job}, "", done()
	case "ResetFailedUnit":
		m.exists = ""
		return nil, "", nil
	case "GetUnit":
		return []any{dbus.ObjectPath("/org/freedesktop/systemd1/unit/x")}, "", nil
	case "StopUnit":
		if _, err := os.Stat(filepath.Join(m.dir, msg.Body[0].(string))); err != nil {
			return []any{"Unit not loaded."}, managerName + ".NoSuchUnit", nil
		}
		return []any{job}, "", done()
	case "AttachProcessesToUnit":
		move(msg.Body[0].(string), msg.Body[2].([]uint32))
	}
	return nil, "", nil
}

// scope is a pending scope of the fake manager, in a real cgroup.
func scope(t *testing.T, m *fakeManager, cfg Config) *Cgroup {
	t.Helper()
	tree, name := realTree(t)
	m.t, m.dir, m.group = t, tree.Mount+name, name
	if m.result == "" {
		m.result = "done"
	}
	m.version = "252.30-1~deb12u2"
	tree.Layout = Unified // as the manager's machines are
	cfg.ID = "x"
	c, err := plan(tree, cfg)
	must(t, err)
	c.bus = []busAddress{{"/nowhere/private", true}, m.listen()}
	t.Cleanup(c.Close)
	return c
}

func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func TestScope(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own socket %v", own), func(t *testing.T) {
			m := &fakeManager{own: own, exists: "coracle-x.scope"}
			c := scope(t, m, Config{Path: "a.slice::coracle-x", Resources: parseResources(t, `{"unified":{"cgroup.max.depth":"3"}}`)})
			if !c.Pending() || c.FD() != -1 || c.Path() != "" {
				t.Errorf("before its process: %v %d %q", c.Pending(), c.FD(), c.Path())
			}
			pid := sleeper(t)
			must(t, c.AddProcess(pid))
			want := m.dir + "/coracle-x.scope"
			if c.Pending() || c.Path() != want || c.Ref().Unit != "coracle-x.scope" || c.Ref().Made != 0 {
				t.Errorf("%+v, want %s", c.Ref(), want)
			}
			if pids, err := c.Procs(); err != nil || !slices.Equal(pids, []int{pid}) {
				t.Errorf("processes %v, %v", pids, err)
			}
			if got := readIn(want, "cgroup.max.depth"); got != "3" {
				t.Errorf("the file that systemd has no word for is %q", got)
			}
			calls := strings.Join(m.said(), "\n")
			for _, want := range []string{"StartTransientUnit coracle-x.scope fail", "ResetFailedUnit coracle-x.scope", fmt.Sprintf("[PIDs @au [%d]]", pid), `[Slice "a.slice"]`, "[Delegate true]"} {
				if !strings.Contains(calls, want) {
					t.Errorf("no %s in:\n%s", want, calls)
				}
			}
			if strings.Contains(calls, "Hello") == own {
				t.Errorf("own socket %v, and:\n%s", own, calls)
			}
			again, err := Open(c.Ref())
			must(t, err)
			defer again.Close()
			again.bus = c.bus
			must(t, again.Apply(parseResources(t, `{"unified":{"cgroup.max.depth":"5"}}`)))
			must(t, again.Kill(t.Context()))
			must(t, again.Remove(t.Context()))
			calls = strings.Join(m.said(), "\n")
			if _, err := os.Stat(want); err == nil || !strings.Contains(calls, "SetUnitProperties coracle-x.scope true") || !strings.Contains(calls, "StopUnit coracle-x.scope replace") {
				t.Errorf("after update and removal: %v\n%s", err, calls)
			}
		})
	}
}

func TestScopeFails(t *testing.T) {
	limit := parseResources(t, `{"unified":{"zzz.max":"5"}}`)
	for name, tt := range map[string]struct {
		result string
		in     Config
		nobody bool
		field  string
		word   string
	}{
		"the job":              {result: "failed", field: pathField, word: "systemd's job: failed"},
		"controller is absent": {in: Config{Resources: limit}, field: `linux.resources.unified["zzz.max"]`, word: "not delegated"},
		"nobody answers":       {nobody: true, field: pathField, word: "reach systemd"},
	} {
		t.Run(name, func(t *testing.T) {
			c := scope(t, &fakeManager{result: tt.result}, tt.in)
			if tt.nobody {
				c.bus = c.bus[:1]
			}
			err := c.AddProcess(sleeper(t))
			var field *FieldError
			if !errors.As(err, &field) || field.Field != tt.field || !strings.Contains(err.Error(), tt.word) || !errors.Is(err, ErrUnsupported) {
				t.Errorf("%v", err)
			}
			if c.FD() != -1 || c.Path() != "" {
				t.Errorf("left %d %q", c.FD(), c.Path())
			}
		})
	}
}

// notOurs is a session whose processes the kernel does not let us move.
type notOurs struct{ realKernel }

func (notOurs) write(dir *os.File, name, value string) error {
	return &os.PathError{Op: "write", Path: name, Err: os.ErrPermission}
}

func TestScopeAttach(t *testing.T) {
	m := &fakeManager{}
	c := scope(t, m, Config{})
	must(t, c.AddProcess(sleeper(t)))
	c.sys = notOurs{}
	second := sleeper(t)
	must(t, c.AddProcess(second))
	if pids, err := c.Procs(); err != nil || !slices.Contains(pids, second) || len(pids) != 2 {
		t.Errorf("processes %v, %v", pids, err)
	}
}
