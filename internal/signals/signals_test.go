package signals

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func wait(t *testing.T, c <-chan os.Signal) syscall.Signal {
	t.Helper()
	select {
	case s := <-c:
		return s.(syscall.Signal)
	case <-time.After(10 * time.Second):
		t.Fatal("no signal came")
		return 0
	}
}

func TestNotify(t *testing.T) {
	const last = syscall.Signal(60)
	all, one := make(chan os.Signal, 8), make(chan os.Signal, 8)
	if err := Notify(all, unix.SIGUSR1, unix.SIGTERM, last); err != nil {
		t.Fatal(err)
	}
	if err := Notify(one, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, s := range []syscall.Signal{unix.SIGUSR1, last, unix.SIGTERM} {
		if err := unix.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, all); got != s {
			t.Errorf("got signal %d, want %d", got, s)
		}
	}
	if got := wait(t, one); got != unix.SIGTERM || len(one) != 0 {
		t.Errorf("got signal %d, and %d more; want 15 alone", got, len(one))
	}
	Stop(one)
	if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if wait(t, all); len(one) != 0 {
		t.Error("a signal after Stop")
	}
}

// Signals meet goroutines that grow their stacks, collect garbage and call the kernel.
func TestNotifyWhileBusy(t *testing.T) {
	const n = 2000
	c := make(chan os.Signal, n)
	if err := Notify(c, unix.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = grow(50)
					_ = os.Getppid()
				}
			}
		}()
	}
	go func() {
		for range 20 {
			runtime.GC()
		}
	}()
	for range n {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wait(t, c) // some came together, as ordinary signals do
}

func grow(n int) int {
	var room [256]byte
	if n == 0 {
		return int(room[0])
	}
	return grow(n-1) + int(room[n])
}

// Children get the default disposition; the test itself, started again, writes
// to an output that nobody reads, and goes on.
func TestPipesAndChildren(t *testing.T) {
	if os.Getenv("SIGNALS_TEST") == "1" {
		if err := KeepAfterPipe(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("x"); err == nil {
			os.Exit(3)
		}
		out, err := exec.Command("grep", "^SigIgn", "/proc/self/status").Output()
		var mask uint64 // with what those ignore who started us
		_, scanErr := fmt.Sscanf(string(out), "SigIgn:\t%x", &mask)
		if err != nil || scanErr != nil || mask&(1<<(unix.SIGPIPE-1)) != 0 {
			os.Exit(4)
		}
		os.Exit(7)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPipesAndChildren$")
	cmd.Env = append(os.Environ(), "SIGNALS_TEST=1")
	cmd.Stdout = w
	err = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("exit code %d, %v; want 7: it has written in vain, and gone on", got, err)
	}
}
