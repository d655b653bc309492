// Package e2e tries the built binary from outside: testscripts by topic, run
// as an unprivileged user with subordinate ids, with other people's tools as
// makers of images and as judges.
package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// alone are topics whose scripts look at every process of the test user, so
// that nothing else of his may run beside them.
var alone = map[string]bool{"leftovers": true}

// TestScripts runs testdata/script/TOPIC/*.txtar. Started as root it makes
// the test user and runs itself again as that user.
func TestScripts(t *testing.T) {
	if base := os.Getenv(baseEnv); base != "" {
		runTopics(t, place(base))
		return
	}
	p := newPlace(t)
	if os.Getuid() == 0 {
		p.rerunAsUser(t)
	} else {
		runTopics(t, p)
	}
	p.assertClean(t)
}

func runTopics(t *testing.T, p place) {
	topics, err := os.ReadDir(p.join("script"))
	if err != nil {
		t.Fatal(err)
	}
	im := &images{place: p}
	for _, topic := range topics {
		t.Run(topic.Name(), func(t *testing.T) {
			work := p.join("w", topic.Name())
			if err := os.MkdirAll(work, 0o755); err != nil {
				t.Fatal(err)
			}
			testscript.RunT(shim{t, alone[topic.Name()], new(strings.Builder)}, testscript.Params{
				Dir:                 p.join("script", topic.Name()),
				WorkdirRoot:         work,
				Setup:               func(env *testscript.Env) error { return setup(p, env) },
				Condition:           condition,
				Cmds:                commands(p, im, alone[topic.Name()]),
				RequireUniqueNames:  true,
				ContinueOnError:     os.Getenv("CORACLE_E2E_CONTINUE") != "",
				RequireExplicitExec: true,
			})
		})
	}
}

// TestMain repeats at the end what the scripts that failed have said: in a log of some
// thousand lines, of which often only the last are kept, nobody would find it.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, text := range failures.texts {
		fmt.Println(text)
	}
	os.Exit(code)
}

var failures struct {
	sync.Mutex
	texts []string
}

// shim hands testing.T to testscript: quiet about passing steps also under
// -v, and one after the other where a topic runs alone.
type shim struct {
	*testing.T
	alone bool
	said  *strings.Builder
}

func (s shim) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) {
		s := shim{t, s.alone, new(strings.Builder)}
		t.Cleanup(func() {
			if t.Failed() {
				failures.Lock()
				defer failures.Unlock()
				failures.texts = append(failures.texts, "FAILED: "+t.Name()+"\n"+s.said.String())
			}
		})
		f(s)
	})
}

func (s shim) Log(args ...any) {
	s.Helper()
	s.T.Log(args...)
	fmt.Fprintln(s.said, args...)
}
func (s shim) Verbose() bool { return false }
func (s shim) Parallel() {
	if !s.alone {
		s.T.Parallel()
	}
}

var scriptNumber atomic.Int32

// setup gives each script a home, a store and a runtime directory of its own.
func setup(p place, env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	// Short: socket names end at 107 bytes.
	run := p.join("r", fmt.Sprint(scriptNumber.Add(1)))
	data := filepath.Join(home, ".local/share")
	for dir, mode := range map[string]os.FileMode{home: 0o755, run: 0o700, data: 0o755} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return err
		}
	}
	for k, v := range map[string]string{
		"PATH": p.path(), "HOME": home, "USER": userName(), "LOGNAME": userName(),
		"XDG_DATA_HOME": data, "XDG_RUNTIME_DIR": run, "XDG_CONFIG_HOME": filepath.Join(home, ".config"),
		"STORE": filepath.Join(data, "coracle"), "RUNROOT": filepath.Join(run, "coracle"),
		"BB": "oci:" + p.join("images/busybox") + ":latest", "BC": "oci:" + p.join("images/busybox") + ":configured",
		"IMAGES": p.join("images"), "BIN": p.join("bin"), "SMALL": p.join("small"), "BASE": string(p),
		"LANG": "C.UTF-8", "ARCH": runtime.GOARCH, "POINTS": cmp.Or(os.Getenv("CORACLE_E2E_POINTS"), "3"), "UID": fmt.Sprint(os.Getuid()), "GID": fmt.Sprint(os.Getgid()),
	} {
		env.Setenv(k, v)
	}
	t := env.T()
	env.Defer(func() {
		if err := noMounts(env.WorkDir, run); err != nil {
			t.Log(err)
			t.FailNow()
		}
		removeMapped(env.WorkDir, run)
	})
	return nil
}

// noMounts looks for mounts that a container left outside its namespace.
func noMounts(dirs ...string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		for _, dir := range dirs {
			if strings.Contains(line, dir) {
				return fmt.Errorf("left mounted on the host: %s", line)
			}
		}
	}
	return nil
}

// removeMapped removes directories with files of the user's subordinate ids.
// It does so without coracle, whose own cleaning is what some scripts test.
func removeMapped(dirs ...string) {
	args := append([]string{"--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"}, dirs...)
	if out, err := exec.Command("unshare", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "remove %v: %v: %s\n", dirs, err, out)
	}
}

// condition knows [amd64] and such by testscript itself, and [root] for the
// user who runs the scripts.
func condition(cond string) (bool, error) {
	if cond == "root" {
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// cannot skips a test that this machine cannot run; where everything must
// work (CI), that is a failure.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf("CORACLE_MUST_WORK: "+format, args...)
	}
	t.Skipf(format, args...)
}
