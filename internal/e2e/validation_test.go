package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The newest revision of the OCI's validation suite that the module proxy
// knows. It is a tool of the tests and no dependency of the product.
const (
	validationModule  = "github.com/opencontainers/runtime-tools"
	validationVersion = "v0.9.1-0.20251114084447-edf4cb3d2116"
)

// TestValidation runs the OCI's validation suite, as the test user and as
// root. testdata/validation.txt tells for each program which of Debian's
// runtimes is clean in it; coracle-oci has to be clean in all of those, and a
// program in which nobody is has its reason there. CORACLE_E2E_RUNTIME=crun (or
// runc) proves the harness and that list.
func TestValidation(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		cannot(t, "the suite brings no root file system for %s", runtime.GOARCH)
	}
	p := newPlace(t)
	r := p.ociRuntime(t)
	suite := p.validationSuite(t)
	verdicts := validationVerdicts(t)
	checkListed(t, suite, verdicts)
	for _, user := range []string{testUser, "root"} {
		identity := map[bool]string{true: "root", false: "user"}[user == "root"]
		t.Run(identity, func(t *testing.T) {
			t.Parallel()
			dir := p.join("v", identity)
			must(t, os.MkdirAll(dir, 0o755))
			env := append(r.environ(user), "RUNTIME="+p.join("oci/runtime"))
			validate := func(programs ...string) {
				args := append([]string{p.join("oci/validate"), suite, dir}, programs...)
				if out, err := p.v2view(t, user, dir, env, args...); err != nil {
					t.Fatalf("validate: %v\n%s", err, out)
				}
			}
			validate()
			for range 2 {
				if again := racing(r, identity, dir, verdicts); len(again) > 0 {
					validate(again...)
				}
			}
			judge(t, r, identity, dir, verdicts)
		})
	}
}

// judge compares what the programs said with what they have to say.
func judge(t *testing.T, r ociRuntime, identity, dir string, verdicts []verdict) {
	clean := 0
	for _, v := range verdicts {
		complaint := complaints(filepath.Join(dir, "out"), v.program)
		if complaint == "" {
			clean++
		} else if v.wanted(r, identity) {
			t.Errorf("%s, clean under %s:\n%s", v.program, strings.Join(v.clean[identity], " and "), complaint)
		}
	}
	t.Logf("%s as %s: clean in %d of %d programs", r.name, identity, clean, len(verdicts))
}

// racing are the programs to be given another chance: in poststart the hook
// and the container's program race to write to one file, by its design. crun
// loses other races: it is killed by SIGPIPE when a hook does not read.
func racing(r ociRuntime, identity, dir string, verdicts []verdict) (again []string) {
	for _, v := range verdicts {
		mayRace := v.program == "poststart" || r.name == "crun"
		if mayRace && v.wanted(r, identity) && complaints(filepath.Join(dir, "out"), v.program) != "" {
			again = append(again, v.program)
		}
	}
	return again
}

// complaints is what a program found wrong: its exit code, TAP's "not ok",
// also of the test that ran inside the container, or, of programs that say
// neither ok nor not ok, an error among their remarks.
func complaints(dir, program string) string {
	read := func(ext string) string {
		text, err := os.ReadFile(filepath.Join(dir, program+ext))
		if err != nil {
			return "did not run: " + err.Error()
		}
		return string(text)
	}
	out, errors := read(".out"), read(".err")
	code := strings.TrimSpace(read(".code"))
	bad := code != "0" || strings.Contains(out, "not ok")
	if !strings.Contains("\n"+out, "\nok ") && strings.Contains(out, `"error":`) {
		bad = true
	}
	if !bad {
		return ""
	}
	return "exit " + code + "\n" + errors + shortened(out)
}

// shortened leaves out what is fine, and ends long lines.
func shortened(tap string) string {
	var b strings.Builder
	fine := false
	for line := range strings.Lines(tap) {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "not ok ") {
			fine = strings.HasPrefix(line, "ok ")
		}
		if at := strings.Index(line, "not ok"); at > 80 {
			line = "…" + line[at:] // the inner test's output, as one string
			fine = false
		}
		if !fine {
			b.WriteString(line[:min(len(line), 600)])
			if len(line) > 600 {
				b.WriteString("…\n")
			}
		}
	}
	return b.String()
}

// verdict is a line of testdata/validation.txt.
type verdict struct {
	program string
	clean   map[string][]string // by user and root: who is clean
	refused map[string]bool     // by user and root: coracle-oci is not, on purpose
	reason  string
}

// wanted tells whether a runtime has to be clean.
func (v verdict) wanted(r ociRuntime, identity string) bool {
	if r.name == "coracle" {
		return len(v.clean[identity]) > 0 && !v.refused[identity]
	}
	return slices.Contains(v.clean[identity], r.name)
}

func validationVerdicts(t *testing.T) (verdicts []verdict) {
	t.Helper()
	text, err := os.ReadFile("testdata/validation.txt")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		v := verdict{program: f[0], clean: map[string][]string{}, refused: map[string]bool{}}
		for i, identity := range []string{"user", "root"} {
			peers := strings.Trim(f[1+i], "[]")
			v.refused[identity] = peers != f[1+i]
			if peers != "-" {
				v.clean[identity] = strings.Split(peers, ",")
			}
		}
		v.reason = strings.Join(f[3:], " ")
		if (len(v.clean) < 2 || v.refused["user"] || v.refused["root"]) && v.reason == "" {
			t.Errorf("testdata/validation.txt: %s need not be clean, without a reason", v.program)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// checkListed holds the list against the programs that there are.
func checkListed(t *testing.T, suite string, verdicts []verdict) {
	t.Helper()
	entries, err := os.ReadDir(suite)
	must(t, err)
	var programs, listed []string
	for _, e := range entries {
		if e.Name() != "runtimetest" && !strings.HasSuffix(e.Name(), ".tar.gz") {
			programs = append(programs, e.Name())
		}
	}
	for _, v := range verdicts {
		listed = append(listed, v.program)
	}
	slices.Sort(listed)
	if !slices.Equal(programs, listed) {
		t.Fatalf("testdata/validation.txt lists %q, the suite has %q", listed, programs)
	}
}

// validationSuite builds the programs, once per version, and gives the
// directory where the test user finds them.
func (p place) validationSuite(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	must(t, err)
	built := filepath.Join(wd, "../../.cache", "validation-"+validationVersion+"-"+runtime.Version())
	if _, err := os.Stat(built); err != nil {
		buildValidation(t, built)
	}
	suite := p.join("suite")
	run(t, nil, "cp", "-r", built, suite)
	run(t, nil, "chmod", "-R", "a+rX", suite)
	return suite
}

func buildValidation(t *testing.T, dir string) {
	t.Helper()
	tmp := dir + ".tmp"
	must(t, os.RemoveAll(tmp))
	module := validationModule + "@" + validationVersion
	run(t, []string{"GOBIN=" + tmp, "CGO_ENABLED=0", "GOFLAGS="}, "go", "install", "-trimpath", "-ldflags=-s -w",
		validationModule+"/validation/...@"+validationVersion, validationModule+"/cmd/runtimetest@"+validationVersion)
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	must(t, err)
	var info struct{ Dir string }
	must(t, json.Unmarshal(out, &info))
	run(t, nil, "cp", filepath.Join(info.Dir, "rootfs-"+runtime.GOARCH+".tar.gz"), tmp)
	must(t, os.Rename(tmp, dir))
}
