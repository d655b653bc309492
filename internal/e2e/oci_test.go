package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ociRuntime is what the judges of `coracle oci` judge: coracle-oci, or the
// runtime that CORACLE_E2E_RUNTIME names, by which the judges prove
// themselves: crun or runc.
type ociRuntime struct {
	name    string
	command string
	// rootFlags are wanted when root calls it.
	rootFlags string
	// env is for testdata/oci/runtime; userEnv when an unprivileged user
	// calls it.
	env, userEnv []string
}

func (p place) ociRuntime(t *testing.T) ociRuntime {
	t.Helper()
	switch name := os.Getenv("CORACLE_E2E_RUNTIME"); name {
	case "":
		must(t, os.Symlink("coracle", p.join("bin/coracle-oci")))
		return ociRuntime{name: "coracle", command: p.join("bin/coracle-oci")}
	case "crun":
		// Its device filter raises a limit, which takes CAP_SYS_RESOURCE.
		return ociRuntime{name, name, " --cgroup-manager=disabled", []string{"OCI_VERSION=1.0.2"}, []string{"OCI_USERNS=1"}}
	case "runc":
		return ociRuntime{name, name, "", []string{"OCI_VERSION=1.0.2"}, []string{"OCI_USERNS=1"}}
	default:
		t.Fatalf("CORACLE_E2E_RUNTIME=%s: crun, runc or nothing", name)
		return ociRuntime{}
	}
}

// environ is what testdata/oci/runtime reads, for root or the test user.
func (r ociRuntime) environ(user string) []string {
	if user == "root" {
		return append(r.env, "OCI_RUNTIME="+r.command+r.rootFlags)
	}
	return append(append(r.env, "OCI_RUNTIME="+r.command), r.userEnv...)
}

// v2view runs a command as user (root or the test user) where only the v2
// cgroup tree is seen, in directory dir, which is given to the user.
func (p place) v2view(t *testing.T, user, dir string, env []string, command ...string) ([]byte, error) {
	t.Helper()
	if os.Getuid() != 0 {
		cannot(t, "a view of the v2 cgroup tree takes root")
	}
	run(t, nil, "chown", user, dir)
	name := fmt.Sprintf("%s-%s", filepath.Base(string(p)), filepath.Base(dir))
	cmd := exec.CommandContext(t.Context(), p.join("oci/v2view"), append([]string{name, user}, command...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + p.path(), "HOME=" + dir, "USER=" + user, "LANG=C.UTF-8", "XDG_RUNTIME_DIR=" + dir}, env...)
	return cmd.CombinedOutput()
}
