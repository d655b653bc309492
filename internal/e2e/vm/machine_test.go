package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// machine is a running login node.
type machine struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	results net.Conn // what guest says
	console *console
	done    bool // it has said all that it has to say
}

// disks are the files that it is made of.
type disks struct{ vmlinuz, initrd, root, modules, payload string }

// boot starts QEMU. Everything that is written goes to a temporary file of
// QEMU's, which outlives a reset and not the process. threads is "multi" or "single".
func boot(t *testing.T, d disks, threads string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "coracle-vm-") // short: it has a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "results"))
	must(t, err)
	defer l.Close()

	ctx, cancel := context.WithTimeout(context.Background(), budget*time.Duration(patience()))
	m := &machine{cancel: cancel, console: &console{panicked: cancel}}
	m.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(d, threads, filepath.Join(dir, "results"))...)
	m.cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.WaitDelay = 5 * time.Second
	must(t, m.cmd.Start())
	_ = l.(*net.UnixListener).SetDeadline(time.Now().Add(30 * time.Second))
	m.results, err = l.Accept()
	if err != nil {
		m.end(t)
		t.Fatalf("qemu does not connect: %v\n%s", err, m.console.tail())
	}
	return m
}

// qemuArgs have no -no-reboot: a reset is one of the tests. KVM is left out:
// where it is offered to virtual machines it may die on the first instruction
// that it has to emulate.
func qemuArgs(d disks, threads, results string) []string {
	shell, debug := os.Getenv("CORACLE_VM_SHELL"), ""
	if shell != "" {
		debug = " systemd.debug_shell=ttyS1"
	}
	args := []string{
		"-accel", "tcg,thread=" + threads, "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config",
		"-display", "none", "-serial", "stdio", "-kernel", d.vmlinuz, "-initrd", d.initrd,
		"-append", "console=ttyS0 quiet loglevel=3 apparmor=1 security=apparmor mitigations=off tsc=unstable systemd.show_status=no" + debug + " " + os.Getenv("CORACLE_VM_APPEND"),
		"-chardev", "socket,id=results,path=" + results,
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=results,name=coracle.results",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
	}
	if shell != "" { // a root shell on a socket, to look around while it runs
		args = append(args, "-serial", "unix:"+shell+",server=on,wait=off")
	}
	for i, disk := range []string{d.root, d.modules, d.payload} { // vda, vdb, vdc
		args = append(args, "-drive", fmt.Sprintf("file=%s,if=none,id=disk%d,format=raw,snapshot=on,cache=unsafe", disk, i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return args
}

// end waits for the machine to power off, when it has said that it does, and
// pulls its plug otherwise.
func (m *machine) end(t *testing.T) {
	if !m.done {
		m.cancel()
	}
	ended := make(chan error, 1)
	go func() { ended <- m.cmd.Wait() }()
	select {
	case err := <-ended:
		if m.done && err != nil {
			t.Errorf("qemu: %v\n%s", err, m.console.tail())
		}
	case <-time.After(time.Minute):
		m.cancel()
		t.Errorf("the machine does not power off: %v\n%s", <-ended, m.console.tail())
	}
	m.cancel()
	if m.results != nil {
		_ = m.results.Close()
	}
}

// console keeps what the machine prints, and ends it when its kernel panics,
// which else would wait for the end of the budget.
type console struct {
	mu       sync.Mutex
	text     bytes.Buffer
	panicked func()
}

var endOfPanic = []byte("end Kernel panic")

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text.Len() > 1<<20 {
		return len(p), nil
	}
	n, err := c.text.Write(p)
	if bytes.Contains(c.text.Bytes(), endOfPanic) {
		c.panicked()
	}
	return n, err
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.text.Bytes()
	return string(text[max(0, len(text)-8000):])
}

func TestConsole(t *testing.T) {
	panicked := errors.New("panicked")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	c := &console{panicked: func() { cancel(panicked) }}
	fmt.Fprint(c, "starting\n---[ end Kernel ")
	if ctx.Err() != nil {
		t.Error("ended too early")
	}
	fmt.Fprint(c, "panic - not syncing: no init ]---\n")
	if !errors.Is(context.Cause(ctx), panicked) || !bytes.Contains([]byte(c.tail()), []byte("no init")) {
		t.Errorf("%v, %q", context.Cause(ctx), c.tail())
	}
}
