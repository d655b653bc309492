package spec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

// criuTalk is a conversation with `criu swrk`: a request, what CRIU tells on
// its way and has to hear yes or no to, and its answer. go-criu has the
// messages, but takes no descriptors with them and waits for ever.
type criuTalk struct {
	path  string
	stdin *os.File           // for --shell-job; nil: /dev/null
	files []*os.File         // its descriptors from firstCRIUFile on
	told  func(notice) error // nil: nothing is asked for
	// started may complete the request, once CRIU has a pid.
	started func(pid int) error

	patience time.Duration // for how long pulse may stay the same; 0: for ever
	pulse    func(pid int) string
	grace    time.Duration // for undoing what it is at, before it is killed
}

// firstCRIUFile: the socket is 3.
const firstCRIUFile = 4

// notice is what CRIU tells on its way (criu(8) --action-script).
type notice struct {
	script string
	pid    int
	file   *os.File // comes with orphan-pts-master; the receiver's to close
}

// toldError is an error of ours, from a notice: CRIU's log knows nothing of it.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

func (t *criuTalk) run(ctx context.Context, req *rpc.CriuReq) (*rpc.CriuResp, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	said, err := memFile("criu-says") // what it says before it has a log
	if err != nil {
		theirs.Close()
		return nil, err
	}
	defer said.Close()
	// What our caller left open is not for CRIU, whose children the container's
	// processes become.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		theirs.Close()
		return nil, fmt.Errorf("close descriptors: %w", err)
	}
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	cmd := exec.CommandContext(hard, t.path, "swrk", "3")
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+sbin) // it runs ip, tar, iptables-restore
	cmd.Stderr = said
	if t.stdin != nil {
		cmd.Stdin = t.stdin
	}
	cmd.ExtraFiles = append([]*os.File{theirs}, t.files...)
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", t.path, err)
	}
	var resp *rpc.CriuResp
	if t.started != nil {
		err = t.started(cmd.Process.Pid)
	}
	if err != nil {
		err = &toldError{err}
	} else {
		resp, err = t.talk(ctx, ours, cmd.Process.Pid, req)
	}
	ours.Close() // a CRIU that is in the middle of something undoes it
	defer time.AfterFunc(t.grace, kill).Stop()
	werr := cmd.Wait()
	switch {
	case err == nil && werr != nil && req.GetType() != rpc.CriuReqType_PRE_DUMP: // after which it waits for the dump
		return nil, fmt.Errorf("%w%s", werr, textOf(said))
	case errors.Is(err, errHungUp) && werr != nil:
		return nil, fmt.Errorf("it ended early: %w%s", werr, textOf(said))
	}
	return resp, err
}

var errHungUp = errors.New("it ended before it had answered")

// textOf is what a process has said, as the end of an error.
func textOf(f *os.File) string {
	buf := make([]byte, 1024)
	n, _ := f.ReadAt(buf, 0)
	if said := strings.TrimSpace(string(buf[:n])); said != "" {
		return ": " + said
	}
	return ""
}

func (t *criuTalk) talk(ctx context.Context, sock *os.File, pid int, req *rpc.CriuReq) (*rpc.CriuResp, error) {
	var told error
	for kind := req.GetType(); ; {
		data, err := req.MarshalVT()
		if err != nil {
			return nil, fmt.Errorf("word the request: %w", err)
		}
		switch err := unix.Send(int(sock.Fd()), data, unix.MSG_NOSIGNAL); {
		case told != nil && err != nil:
			return nil, told
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
			return nil, errHungUp
		case err != nil:
			return nil, fmt.Errorf("send the request: %w", err)
		}
		resp, file, err := t.receive(ctx, sock, pid)
		switch {
		case told != nil && (err != nil || resp.GetType() != rpc.CriuReqType_NOTIFY):
			return nil, told // it has given up, as it was told
		case err != nil:
			return nil, err
		case !resp.GetSuccess():
			return nil, failure(resp)
		case resp.GetType() == kind:
			return resp, nil
		case resp.GetType() != rpc.CriuReqType_NOTIFY:
			return nil, fmt.Errorf("it answers %s to %s", resp.GetType(), kind)
		}
		if err := t.hear(resp.GetNotify(), file); err != nil && told == nil {
			told = &toldError{err}
		}
		req = &rpc.CriuReq{Type: asked(rpc.CriuReqType_NOTIFY), NotifySuccess: asked(told == nil)}
	}
}

func (t *criuTalk) hear(n *rpc.CriuNotify, file *os.File) error {
	if t.told == nil {
		if file != nil {
			file.Close()
		}
		return nil
	}
	return t.told(notice{script: n.GetScript(), pid: int(n.GetPid()), file: file})
}

// failure is what CRIU answers; its log tells more.
func failure(resp *rpc.CriuResp) error {
	verb := strings.ToLower(strings.ReplaceAll(resp.GetType().String(), "_", "-"))
	if resp.GetCrErrno() != 0 {
		return fmt.Errorf("%s failed: %w", verb, unix.Errno(resp.GetCrErrno()))
	}
	return fmt.Errorf("%s failed", verb)
}

// receive waits for a message as long as CRIU gets on.
func (t *criuTalk) receive(ctx context.Context, sock *os.File, pid int) (*rpc.CriuResp, *os.File, error) {
	if err := t.await(ctx, sock, pid); err != nil {
		return nil, nil, err
	}
	buf, oob := make([]byte, 10<<12), make([]byte, unix.CmsgSpace(4))
	n, oobn, flags, _, err := unix.Recvmsg(int(sock.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
	switch {
	case err != nil && !errors.Is(err, unix.ECONNRESET):
		return nil, nil, fmt.Errorf("read its answer: %w", err)
	case err != nil || n == 0:
		return nil, nil, errHungUp
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return nil, nil, errors.New("its answer is too long")
	}
	file, err := rights(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	resp := &rpc.CriuResp{}
	if err := resp.UnmarshalVT(buf[:n]); err != nil {
		if file != nil {
			file.Close()
		}
		return nil, nil, fmt.Errorf("read its answer: %w", err)
	}
	return resp, file, nil
}

// rights is the descriptor that came with a message, if one did.
func rights(oob []byte) (*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("its answer has %d descriptors: %w", len(fds), cmpErr(err, unix.EBADMSG))
	}
	return os.NewFile(uintptr(fds[0]), "from criu"), nil
}

// await returns once there is something to read.
func (t *criuTalk) await(ctx context.Context, sock *os.File, pid int) error {
	since, last := time.Now(), ""
	for {
		fds := []unix.PollFd{{Fd: int32(sock.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 200)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for its answer: %w", err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("it was stopped: %w", context.Cause(ctx))
		}
		if t.patience == 0 {
			continue
		}
		if now := t.pulse(pid); now != last {
			since, last = time.Now(), now
		}
		if time.Since(since) > t.patience {
			return fmt.Errorf("it hung: nothing in its log and no use of a processor for %s", t.patience)
		}
	}
}

// processorTime is what a process and its children have used, fields 14 to 17
// of proc_pid_stat(5): to compare, not to read.
func processorTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(f) < 15 {
		return ""
	}
	return string(bytes.Join(f[11:15], []byte(" ")))
}
