package spec

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coracle/userns"
)

// A container whose first process was there before its program is as any other.
func TestNewborn(t *testing.T) {
	s := testSpec(busyboxRoot(t), "sh", "-c", "echo $$; hostname; id -u; ls /proc/self/fd | wc -l; grep Sig[BC] /proc/self/status")
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	run := func(early bool) string {
		out, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		x := Extra{Stub: stub, Stdio: [3]*os.File{nil, out, out}}
		if early {
			if x.Newborn = Begin(context.Background(), s, singleMap(), nil); x.Newborn == nil {
				t.Fatal("there is none")
			}
			<-x.Newborn.done
			if x.Newborn.child == nil {
				t.Fatalf("there is none: %v", x.Newborn.err)
			}
		}
		p, err := Start(context.Background(), s, x, singleMap())
		if err != nil {
			t.Fatal(err)
		}
		if x.Newborn != nil && x.Newborn.child != nil {
			t.Error("it was not used")
		}
		if ws, _, err := p.Wait(); err != nil || ws != 0 {
			t.Errorf("status %v, %v", ws, err)
		}
		data, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	early, late := run(true), run(false)
	if early != late || !strings.HasPrefix(early, "1\nboat\n0\n") {
		t.Errorf("early:\n%s\nlate:\n%s", early, late)
	}
}

// What is left over ends, and a step that fails is told as ever.
func TestNewbornEnds(t *testing.T) {
	s := testSpec(busyboxRoot(t), "true")
	b := Begin(context.Background(), s, singleMap(), nil)
	<-b.done
	if b.child == nil {
		t.Fatalf("there is none: %v", b.err)
	}
	pid := b.child.PID
	b.Abandon()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}

	s.Process.Cwd = "/bin/busybox/x"
	b = Begin(context.Background(), s, singleMap(), nil)
	_, _, err := runSpec(t, s, Extra{Newborn: b})
	var se *userns.StepError
	if !errors.As(err, &se) || !strings.Contains(se.Step, "/bin/busybox/x") {
		t.Errorf("got %v", err)
	}
	b.Abandon()

	// The kernel would change the launcher's, too.
	score := 500
	s.Process.OOMScoreAdj = &score
	if b := Begin(context.Background(), s, singleMap(), nil); b != nil {
		b.Abandon()
		t.Error("a newborn with an oom_score_adj")
	}
}
