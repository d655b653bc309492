package fuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideHost mounts a plan of the host and compares it with the host.
func insideHost(args []string) error {
	var r Rootfs
	if err := readJSON(args[0], &r); err != nil {
		return err
	}
	root := args[1]
	start := time.Now()
	if err := r.Mount(root); err != nil {
		return err
	}
	fmt.Printf("mounted in %v\n", time.Since(start))
	for _, p := range []string{"/usr", "/usr/bin", "/etc", "/var/lib", "/opt", "/root"} {
		if err := sameNames(p, root+p); err != nil {
			return err
		}
	}
	for _, p := range []string{"/etc/passwd", "/etc/ld.so.cache", "/etc/os-release", "/usr/bin/env", "/bin/sh"} {
		want, err := os.ReadFile(p)
		got, err2 := os.ReadFile(root + p)
		if err != nil || err2 != nil || string(want) != string(got) {
			return fmt.Errorf("%s differs: %d and %d bytes, %w", p, len(want), len(got), errors.Join(err, err2))
		}
	}
	for _, p := range []string{"/run", "/tmp"} {
		if names := readNames(root + p); len(names) != 0 {
			return fmt.Errorf("%s shows %v", p, names)
		}
	}
	if st, err := os.Stat(root + "/tmp"); err != nil || st.Mode()&os.ModeSticky == 0 || st.Mode().Perm() != 0o777 {
		return fmt.Errorf("/tmp is not for everybody: %v %w", st.Mode(), err)
	}
	return writesStay(root, r.Host)
}

// writesStay writes to the top of each overlay, and looks for it on the host.
func writesStay(root string, plan *HostPlan) error {
	overlays := 0
	for _, m := range plan.Mounts {
		at := filepath.Join(root, m.Target, ".coracle-test")
		if m.Kind == HostBind {
			var st unix.Stat_t
			if unix.Stat(filepath.Join(root, m.Target), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && os.WriteFile(at, nil, 0o600) == nil {
				return fmt.Errorf("the bind /%s takes writes", m.Target)
			}
			continue
		}
		if m.Kind != HostOverlay {
			continue
		}
		overlays++
		err := os.WriteFile(at, []byte("x"), 0o600)
		if _, gone := os.Lstat("/" + m.Target); gone != nil {
			continue // somebody has removed it since
		}
		if err != nil {
			return fmt.Errorf("write to /%s: %w", m.Target, err)
		}
		if _, err := os.Lstat("/" + m.Target + "/.coracle-test"); err == nil {
			return fmt.Errorf("what was written to /%s is on the host", m.Target)
		}
	}
	if overlays == 0 {
		return errors.New("the plan has no overlay")
	}
	return os.WriteFile(root+"/new", nil, 0o600)
}

func sameNames(a, b string) error {
	x, err := os.ReadDir(a)
	y, err2 := os.ReadDir(b)
	if (err == nil) != (err2 == nil) {
		return fmt.Errorf("%s: on the host %v, in the view %v", a, err, err2) //nolint:errorlint // two of them, to compare
	}
	var nx, ny []string
	for _, e := range x {
		nx = append(nx, e.Name()+" "+e.Type().String())
	}
	for _, e := range y {
		ny = append(ny, e.Name()+" "+e.Type().String())
	}
	if !slices.Equal(nx, ny) {
		return fmt.Errorf("%s: on the host %v, in the view %v", a, nx, ny)
	}
	return nil
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	must(t, os.WriteFile(path, data, 0o644))
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func TestHostViewMounts(t *testing.T) {
	f, err := Probe(t.Context(), ProbeRequest{Dir: t.TempDir()})
	must(t, err)
	need(t, f.TmpfsUpper && f.HostLower, "overlay with an upper on a tmpfs")
	callers := map[string]caller{"unprivileged": unprivileged(t)}
	if os.Geteuid() == 0 {
		callers["root"] = caller{0, 0, 1}
	}
	for name, c := range callers {
		t.Run(name, func(t *testing.T) {
			dir := c.dir(t)
			for _, d := range []string{"store", "scratch", "root"} {
				must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				must(t, os.Chown(filepath.Join(dir, d), c.uid, c.gid))
			}
			plan := c.hostPlan(t, dir)
			writeJSON(t, filepath.Join(dir, "plan"), plan)
			kinds := map[HostKind]int{}
			for _, m := range plan.Host.Mounts {
				kinds[m.Kind]++
			}
			t.Log(kinds, plan.Host.Skipped)
			t.Log(strings.TrimSpace(c.run(t, "host", filepath.Join(dir, "plan"), filepath.Join(dir, "root"))))
			if st, err := os.Lstat(filepath.Join(dir, "root", "new")); err == nil {
				t.Errorf("the view's root is on the host: %v", st)
			}
		})
	}
}

// hostPlan plans as the caller: what it may not read is part of the plan.
func (c caller) hostPlan(t *testing.T, dir string) Rootfs {
	t.Helper()
	cmd := c.command(t, "[inside:plan]", dir)
	cmd.SysProcAttr.Cloneflags = 0
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential.Uid, cmd.SysProcAttr.Credential.Gid = uint32(c.uid), uint32(c.gid)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	var r Rootfs
	must(t, json.Unmarshal(out, &r))
	return r
}

// insidePlan plans as the caller, with nothing but its own rights.
func insidePlan(args []string) error {
	p := Request{LayersDir: filepath.Join(args[0], "store"), Scratch: filepath.Join(args[0], "scratch"), Cache: args[0]}
	if _, err := ChooseHost(context.Background(), p); err != nil { // fills the cache
		return err
	}
	r, err := ChooseHost(context.Background(), p)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
