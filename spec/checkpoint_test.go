package spec

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCanCheckpoint(t *testing.T) {
	own := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}
	for _, tt := range []struct {
		name, want string
		terminal   bool
		ns         []specs.LinuxNamespace
	}{
		{"plain", "", false, own},
		{"terminal", "process.terminal", true, own},
		{"no pid namespace", "linux.namespaces", false, own[1:]},
		{"user namespace", "linux.namespaces[2]", false, append(own[:2:2], specs.LinuxNamespace{Type: specs.UserNamespace})},
		{"cgroup namespace", "linux.namespaces[2]", false, append(own[:2:2], specs.LinuxNamespace{Type: specs.CgroupNamespace})},
		{"joined", "linux.namespaces[2].path", false, append(own[:2:2], specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/x"})},
	} {
		err := canCheckpoint(&specs.Spec{Process: &specs.Process{Terminal: tt.terminal}, Linux: &specs.Linux{Namespaces: tt.ns}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want+":") {
			t.Errorf("%s: %v, want a refusal of %q", tt.name, err, tt.want)
		}
	}
}

func TestFirstErrors(t *testing.T) {
	for log, want := range map[string]string{
		"a\nb\nc\nd\n": "a; b; c",
		"a\n(0.1) Error (x.c:1): no\nb\nError: e": "(0.1) Error (x.c:1): no",
	} {
		if got := firstErrors(log); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}
