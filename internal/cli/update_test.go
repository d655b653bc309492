package cli

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/internal/engine"
)

// TestContainerCommands holds what is asked of the engine by commands that
// change containers.
func TestContainerCommands(t *testing.T) {
	a, c, d := strings.Repeat("a", 64), strings.Repeat("c", 64), strings.Repeat("d", 64)
	cid := filepath.Join(t.TempDir(), "cid")
	if err := os.WriteFile(cid, []byte(c+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		line  string
		code  int
		asked string
	}{
		{"update --restart on-failure:3 web job", 0, "update web on-failure:3,update job on-failure:3"},
		{"update --restart no web", 0, "update web no"},
		{"update --restart sometimes web", 125, ""},
		{"update web", 125, ""},
		{"update --memory 1g --cpus=2 web", 0, "update web m=1g c=2 p="},
		{"update --pids-limit -1 --restart always web", 0, "update web alwaysm= c= p=-1"},
		{"update --memory-swappiness 1 web", 125, ""},
		{"rm --filter status=exited --filter status=created", 0, "rm " + c + ",rm " + d},
		{"rm -l", 0, "rm " + a},
		{"rm -f -t 3 web", 0, "stop web 3s,rm web,force"},
		{"stop -s INT -t 2 web", 0, "stop web 2s,2"},
		{"stop --signal NOSUCH web", 125, ""},
		{"rm -t 3 web", 125, ""},
		{"rm --cidfile " + cid, 0, "rm " + c},
		{"rm --cidfile /gone", 125, ""},
		{"rm -i --cidfile /gone", 0, ""},
		{"rm -a", 0, "rm " + c + ",rm " + d},
		{"rm --depend web", 0, "dependents web,rm web"},
		{"container prune -f", 0, "rm " + c + ",rm " + d},
		{"container prune -f --filter until=10h", 0, "rm " + d},
		{"container prune -f --filter name=x", 125, ""},
		{"port web", 0, "ports web"},
		{"port -l", 0, "ports " + a},
		{"diff -l", 0, "diff " + a},
		{"diff -l web", 125, ""},
		{"diff", 125, ""},
		{"port web 80/tcp", 125, "ports web80/tcp"},
		{"port no-x", 0, "ports no-x"},
		{"port web 80 90", 125, ""},
		{"port", 125, ""},
		{"container exists web", 0, "inspect container web"},
		{"container exists no-x", 1, "inspect container no-x"},
		{"inspect -l", 0, "inspect container " + a},
		{"inspect -s web", 0, "inspect all web,size"},
		{"inspect -l web", 125, ""},
		{"inspect", 125, ""},
	} {
		f := &fakeEngine{containers: psContainers(), documents: map[string]any{"web": 1, a: 2}}
		got := invoke(t, f, strings.Fields(k.line)...)
		if got.code != k.code || strings.Join(f.asked, ",") != k.asked {
			t.Errorf("%q: exit %d, asked %q; not %d, %q\n%s", k.line, got.code, f.asked, k.code, k.asked, got.err)
		}
	}
}

func TestPruneAsks(t *testing.T) {
	for answer, want := range map[string]int{"y\n": 2, "YES\n": 2, "n\n": 0, "\n": 0, "": 0, "yesterday\n": 0} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = out.WriteString(answer)
		out.Close()
		f := &fakeEngine{containers: psContainers()}
		var stdout, stderr strings.Builder
		a := &app{files: [3]*os.File{in, nil, nil}, out: bufio.NewWriter(&stdout), err: &stderr,
			open: func(engine.Config) (engineAPI, error) { return f, nil }}
		if code := a.main([]string{"coracle", "container", "prune"}); code != 0 || len(f.asked) != want || !strings.Contains(stderr.String(), "[y/N]") {
			t.Errorf("%q: exit %d, asked %q\n%s", answer, code, f.asked, &stderr)
		}
		if want > 0 && (strings.Count(stdout.String(), "\n") != 2 || !strings.Contains(stderr.String(), "Total reclaimed space: 6 kB\n")) {
			t.Errorf("%q: %s%s", answer, &stdout, &stderr)
		}
		in.Close()
	}
}

// port -a names the container in each line, also where there is only one.
func TestPortsOfAll(t *testing.T) {
	f := &fakeEngine{containers: psContainers()[:1], ports: []string{"80/tcp -> 127.0.0.1:8080"}}
	for line, want := range map[string]string{"port -a": "aaaaaaaaaaaa\t80/tcp -> 127.0.0.1:8080\n", "port web": "80/tcp -> 127.0.0.1:8080\n"} {
		if got := invoke(t, f, strings.Fields(line)...); got.code != 0 || got.out != want {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
}
