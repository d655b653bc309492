package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runCheck executes a check in a container. It returns when the check has
// ended, was killed for taking too long, or with ctx.
// stub is what guards it where it has no pid namespace of the container's to
// end with; nil where it has.
func runCheck(ctx context.Context, st *spec.Container, c HealthCheck, stub *os.File) (r HealthResult) {
	r.Start = time.Now().UTC()
	code, output, err := execCheck(ctx, st, c, stub)
	r.End, r.ExitCode, r.Output = time.Now().UTC(), code, output
	if err != nil {
		r.ExitCode, r.Output = -1, err.Error()
	}
	return r
}

func execCheck(ctx context.Context, st *spec.Container, c HealthCheck, stub *os.File) (int, string, error) {
	p, err := checkProcess(st, c)
	if err != nil {
		return 0, "", err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, "", err
	}
	defer null.Close()
	r, w, err := pipeWith(true)
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	limit, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	child, err := st.Exec(limit, p, spec.ExecOptions{Stdio: [3]*os.File{null, w, w}, IgnoreCgroup: true})
	w.Close()
	if err != nil {
		var ee *userns.ExecError
		if limit.Err() == nil && errors.As(err, &ee) { // the codes of a shell
			code := 126
			if ee.Errno == unix.ENOENT {
				code = 127
			}
			return code, fmt.Sprintf("%s: %v", p.Args[0], ee), nil
		}
		return 0, "", timedOut(limit, ctx, c, err)
	}
	if stub != nil {
		guard, err := guardChild(stub, child.PID)
		if err != nil {
			_ = child.Signal(unix.SIGKILL)
			_, _, _ = child.Wait()
			return 0, "", err
		}
		defer guard.Stop()
	}
	out := make(chan string, 1)
	go func() { out <- firstBytes(r, healthOutput) }()
	code := make(chan int, 1)
	go func() {
		ws, _, err := child.Wait()
		exit := exitOf(ws)
		if err != nil {
			exit.Code = -1
		}
		code <- exit.Code
	}()
	select {
	case n := <-code:
		// What it has left in the background may still hold the pipe.
		_ = r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		return n, <-out, nil
	case <-limit.Done():
	}
	killTree(child.PID)
	_ = r.SetReadDeadline(time.Now())
	<-out
	select {
	case <-code:
	case <-time.After(time.Second): // in uninterruptible sleep: dead as soon as it wakes
	}
	return 0, "", timedOut(limit, ctx, c, limit.Err())
}

// guardChild has a child of ours, which was not waited for, killed when we are.
func guardChild(stub *os.File, pid int) (*userns.Guard, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("guard the health check: %w", err)
	}
	pidfd := os.NewFile(uintptr(fd), "check")
	defer pidfd.Close()
	return userns.StartGuard(stub, pidfd)
}

func timedOut(limit, ctx context.Context, c HealthCheck, err error) error {
	if limit.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("the health check took longer than %s", c.Timeout)
	}
	return err
}

// checkProcess is the check as the container's own process would be: its user,
// its environment, and what it may.
func checkProcess(st *spec.Container, c HealthCheck) (*specs.Process, error) {
	s, err := st.Spec()
	if err != nil {
		return nil, err
	}
	p := *s.Process
	p.Args, p.Terminal, p.ConsoleSize = c.args(), false, nil
	p.OOMScoreAdj = nil // the container's, as far as it is ours to give
	return &p, nil
}

// firstBytes reads to the end and returns what came first. A flood is read
// slowly, so that it keeps no processor busy.
func firstBytes(r io.Reader, n int) string {
	var kept bytes.Buffer
	buf, total := make([]byte, 16<<10), 0
	for {
		m, err := r.Read(buf)
		if m = max(m, 0); kept.Len() < n {
			kept.Write(buf[:min(m, n-kept.Len())])
		}
		if total += m; total > 1<<20 {
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil {
			return strings.ToValidUTF8(strings.TrimRight(kept.String(), "\n"), "")
		}
	}
}

// killTree kills a process, the session that it leads, and what descends from
// it: what a check has started, unless it took pains to get away. In a pid
// namespace of its own even that ends with the container.
func killTree(pid int) {
	ours := map[int]bool{pid: true}
	for range 10 {
		found := false
		for _, p := range processTable() {
			if !ours[p.pid] && p.session != pid && !ours[p.parent] || p.dead {
				continue
			}
			ours[p.pid] = true
			found = killExactly(p) || found
		}
		if !found {
			return
		}
	}
}

// tableRow is what killTree wants to know of a process.
type tableRow struct {
	pid, parent, session int
	start                string // clock ticks since boot
	dead                 bool
}

// killExactly sends SIGKILL to the process that row was read of, and no other
// that has got its number.
func killExactly(row tableRow) bool {
	fd, err := unix.PidfdOpen(row.pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	now, ok := readRow(row.pid)
	return ok && now.start == row.start && !now.dead && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

func processTable() []tableRow {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []tableRow
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if row, ok := readRow(pid); ok {
				out = append(out, row)
			}
		}
	}
	return out
}

// readRow reads proc_pid_stat(5).
func readRow(pid int) (row tableRow, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return row, false
	}
	// The command's name, in parentheses, may hold anything.
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) < 20 {
		return row, false
	}
	parent, err1 := strconv.Atoi(f[1])
	session, err2 := strconv.Atoi(f[3])
	return tableRow{pid, parent, session, f[19], f[0] == "Z" || f[0] == "X"}, err1 == nil && err2 == nil
}
