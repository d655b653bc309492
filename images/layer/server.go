package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StageName is what ps shows for the stage, and how main finds StoreMain.
const StageName = "[coracle:store]"

// stageSocket is the descriptor on which the stage finds its socket.
const stageSocket = 3

// stageMemory is a soft limit on the heap: what is not needed for chunks and
// decompressors is garbage, and there is little of it.
const stageMemory = 96 << 20

// Handler answers one kind of message that another package adds to the stage.
// It runs inside the stage, whose working and root directory is the store's;
// what it returns is sent back as JSON, an error as in this package.
type Handler func(ctx context.Context, in json.RawMessage) (any, error)

// server is the stage's side.
type server struct {
	w     wire
	l     *local
	extra map[string]Handler

	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// StoreMain is the stage process. It has been started in a user and a mount
// namespace of its own, with a unix SOCK_SEQPACKET socket on descriptor 3, and
// serves until the other end of that is closed. It does nothing before Start
// says that the id maps are written. It returns the exit code.
func StoreMain(extra map[string]Handler) int {
	unix.CloseOnExec(stageSocket)
	debug.SetMemoryLimit(stageMemory)
	s := &server{w: wire{fd: stageSocket}, extra: extra, running: make(map[uint64]context.CancelFunc)}
	if err := unix.SetNonblock(stageSocket, false); err != nil {
		fmt.Fprintf(os.Stderr, "%s is a part of coracle and cannot be called by itself\n", StageName)
		return 125
	}
	for {
		m, fds, err := s.w.receive()
		if err != nil {
			// The launcher has ended, or been killed. What is being written now
			// is in a directory that was not renamed yet; the next command
			// removes it.
			return 0
		}
		s.dispatch(m, fds)
	}
}

// dispatch starts what a message asks for. Only start is done at once: nothing
// may run before it.
func (s *server) dispatch(m message, fds []int) {
	var files handed
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), m.Op))
	}
	if m.Op == opCancel {
		s.mu.Lock()
		if cancel := s.running[m.ID]; cancel != nil {
			cancel()
		}
		s.mu.Unlock()
		return
	}
	if m.Op == opStart {
		s.reply(m.ID, nil, s.start(files.get(0)))
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.running[m.ID] = cancel
	s.mu.Unlock()
	go func() {
		out, err := s.serve(ctx, m, files)
		for _, f := range files {
			f.Close()
		}
		s.mu.Lock()
		delete(s.running, m.ID)
		s.mu.Unlock()
		cancel()
		s.reply(m.ID, out, err)
	}()
}

func (s *server) reply(id uint64, out any, err error) {
	m := message{ID: id, Done: true}
	if out != nil {
		b, merr := json.Marshal(out)
		m.Body, err = b, errors.Join(err, merr)
	}
	if err != nil {
		m.Err = toWire(err)
	}
	if serr := s.w.send(m); errors.Is(serr, errTooLong) {
		_ = s.w.send(message{ID: id, Done: true, Err: &wireError{Text: "the store process's reply is too long"}})
	} // any other failure: the launcher is gone, and the next receive says so
}

func (s *server) serve(ctx context.Context, m message, files handed) (any, error) {
	if s.l == nil {
		return nil, errors.New("the store process has not been started")
	}
	switch m.Op {
	case opUnpack:
		r, err := decode[Request](m.Body)
		if err != nil {
			return nil, err
		}
		if r.Blob, r.Lender = files.get(0), files.get(1); r.Blob == nil {
			return nil, errors.New("unpack: no blob was handed over")
		}
		r.Progress = func(n int64) { _ = s.w.send(message{ID: m.ID, Read: n}) }
		return s.l.Unpack(ctx, r)
	case opFinish:
		r, err := decode[FinishRequest](m.Body)
		if err != nil {
			return nil, err
		}
		return nil, s.l.Finish(ctx, r)
	case opRemove:
		dir, err := decode[string](m.Body)
		if err != nil {
			return nil, err
		}
		return nil, s.l.Remove(ctx, dir)
	}
	h := s.extra[m.Op]
	if h == nil {
		return nil, fmt.Errorf("the store process knows no request %q", m.Op)
	}
	if file := files.get(0); file != nil {
		ctx = context.WithValue(ctx, handedKey{}, file)
	}
	return h(ctx, m.Body)
}

// handed are the descriptors that came with a request.
type handed []*os.File

func (h handed) get(i int) *os.File {
	if i >= len(h) {
		return nil
	}
	return h[i]
}

type handedKey struct{}

// HandedFile is the descriptor that came with the request a handler answers;
// nil where none did. It is closed when the handler returns.
func HandedFile(ctx context.Context) *os.File {
	f, _ := ctx.Value(handedKey{}).(*os.File)
	return f
}

// start makes the process root of its namespace and shuts it into the store.
// Until here it has every capability there and sees the whole file system.
func (s *server) start(root *os.File) error {
	if root == nil || s.l != nil {
		return errors.New("start: no root was handed over, or twice")
	}
	defer root.Close()
	if unix.Getuid() != 0 || unix.Getgid() != 0 {
		// Started before the maps were written, it has had the overflow ids.
		if err := errors.Join(syscall.Setresgid(0, 0, 0), syscall.Setresuid(0, 0, 0)); err != nil {
			return fmt.Errorf("become root of the user namespace: %w", err)
		}
	}
	unix.Umask(0) // modes are the archive's
	ids, err := currentIDs()
	if err != nil {
		return err
	}
	if err := unix.Fchdir(int(root.Fd())); err != nil {
		return fmt.Errorf("enter the store: %w", err)
	}
	// Nothing is mounted, and the mount namespace is left as the kernel made it,
	// a slave of the host's: a private one would keep the host's file systems
	// busy after they were unmounted there.
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot into the store: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	fd, err := openat(unix.AT_FDCWD, "/", openDir, 0)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	s.l = &local{root: fd, ids: ids}
	return nil
}

// dropCapabilities keeps what files need, in all threads. Above all it drops
// CAP_SYS_CHROOT and CAP_SYS_ADMIN, with which a chroot can be left.
func dropCapabilities() error {
	keep := uint64(0)
	for _, c := range []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER,
		unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP} {
		keep |= 1 << c
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil { // inside another container some are missing
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i, k := range []uint32{uint32(keep), uint32(keep >> 32)} {
		k &= data[i].Permitted
		data[i] = unix.CapUserData{Effective: k, Permitted: k}
	}
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data)), 0)
	runtime.KeepAlive(&hdr)
	runtime.KeepAlive(&data)
	if e != 0 && e != syscall.ENOTSUP { // it is for builds with cgo, which only the race detector's are
		return fmt.Errorf("drop capabilities: %w", e)
	}
	return nil
}
