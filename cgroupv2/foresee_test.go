package cgroupv2

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestForesee: what is foreseen is what is then made, or refused in the same words;
// and nothing is changed by looking.
func TestForesee(t *testing.T) {
	for name, tt := range map[string]struct{ controllers, own, path, in string }{
		"beside us":     {"cpu memory pids", "/user/session", "", limits},
		"at the root":   {"cpu memory pids", "/", "", limits},
		"absolute":      {"cpu memory pids", "/user/session", "/pod/a/b", limits},
		"relative":      {"cpu memory pids", "/user/session", "pod/a", limits},
		"no controller": {"cpu pids", "/user/session", "", limits},
		"no limits":     {"cpu", "/user/session", "", `{}`},
		"bad value":     {"cpu memory pids", "/user/session", "", `{"memory":{"limit":-7}}`},
		"out of sight":  {"cpu memory pids", "/../x", "", limits},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake(t, tt.controllers)
			mkdirs(t, k, "/user", "/user/session")
			tree, cfg := k.tree(tt.own), Config{ID: "x", Path: tt.path, Resources: parseResources(t, tt.in)}
			if tt.own == "/../x" {
				tree.OwnDir = ""
			}
			before := k.snapshot()
			seen, foreseen := tree.outlook(cfg)
			if k.snapshot() != before {
				t.Error("it changes something")
			}
			c, err := create(tree, cfg, k)
			if (err == nil) != (foreseen == nil) || err != nil && err.Error() != foreseen.Error() {
				t.Fatalf("foreseen: %v; then: %v", foreseen, err)
			}
			if err != nil {
				return
			}
			defer c.Close()
			if seen.Path != c.Path() || (seen.None == "") != (c.Path() != "") {
				t.Errorf("foreseen: %+v; made: %s", seen, c.Path())
			}
			for _, f := range seen.Files {
				if got := readIn(c.Path(), f.Name); got != f.Value {
					t.Errorf("%s is %q, foreseen was %q", f.Name, got, f.Value)
				}
			}
		})
	}
}

// TestForeseeShared: in a login session, by what the user's manager has.
func TestForeseeShared(t *testing.T) {
	slice := fmt.Sprintf("/user.slice/user-%d.slice", os.Geteuid())
	manager := fmt.Sprintf("%s/user@%d.service", slice, os.Geteuid())
	k := newFake(t, "cpu memory pids")
	mkdirs(t, k, "/user.slice", slice, manager, slice+"/session-1.scope")
	tree := k.tree(slice + "/session-1.scope")
	tree.Managed = true
	must(t, os.WriteFile(filepath.Join(k.root, manager, "cgroup.controllers"), []byte("memory pids\n"), 0o600))
	cfg := Config{ID: "x", Auto: true, Resources: parseResources(t, `{"memory":{"limit":100}}`)}
	seen, err := tree.outlook(cfg)
	if want := k.root + manager + "/app.slice/coracle.scope/coracle-x"; err != nil || seen.Path != want {
		t.Errorf("%+v, %v; want %s", seen, err, want)
	}
	cfg.Resources = parseResources(t, `{"cpu":{"quota":5000}}`)
	if seen, err := tree.outlook(cfg); err == nil || err.Error() != "linux.resources.cpu.quota: cannot be enforced: the controller cpu is not delegated below "+k.root+manager+": permission denied" {
		t.Errorf("%+v, %v", seen, err)
	}
	cfg.Unasked, cfg.Resources = true, nil
	if seen, err := tree.outlook(cfg); err != nil || seen.Path != "" || seen.None == "" {
		t.Errorf("%+v, %v", seen, err)
	}
}
