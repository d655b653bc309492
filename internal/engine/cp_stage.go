package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"coracle/fuse"
	"coracle/internal/plainfile"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// FilesStage is the stage that reads and writes a container's files: a process
// in a user namespace with the container's id map, but not the container's. So
// it may what root of the container may, and nobody in there may trace it. It
// has one descriptor of the container's root, and resolves all names in it:
//
//	launcher                         stage
//	open, the root or its layers  →  mounts the layers where it runs not
//	                              ←  what went wrong, if anything
//	stat | out | in | …           →  with a pipe for tar or text
//	close                         →  ends the server of FUSE that it has started
//	                              ←  the answer, once all is read or written
const FilesStage = "[coracle:files]"

// filesRequest is one message of the launcher.
type filesRequest struct {
	Op    string
	Root  *fuse.Rootfs `json:",omitempty"` // open: how to mount; nil: the descriptor is the root
	Path  string       `json:",omitempty"` // in the container, absolute
	Pack  packOptions  `json:",omitzero"`
	Store storeOptions `json:",omitzero"`
	Diff  diffRequest  `json:",omitzero"`

	Changes changesRequest `json:",omitzero"`
	Tree    treeRequest    `json:",omitzero"`
}

func (r filesRequest) needsRoot() bool {
	return r.Op != "diff" && r.Op != "tree" && (r.Op != "changes" || r.Changes.Root)
}

// filesReply is the stage's answer.
type filesReply struct {
	Err   string        `json:",omitempty"`
	Errno syscall.Errno `json:",omitempty"`
	Stat  fileStat      `json:",omitzero"`
	Notes []string      `json:",omitempty"` // what was left out, and why
	Count int64         `json:",omitempty"` // changes: entries
}

// fileStat says what is at a path.
type fileStat struct {
	Mode uint32 // S_IF* and permissions
}

func (s fileStat) isDir() bool  { return s.Mode&unix.S_IFMT == unix.S_IFDIR }
func (s fileStat) isLink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// stageError is an error that came from the stage.
type stageError struct {
	text  string
	errno syscall.Errno
}

func (e *stageError) Error() string { return e.text }
func (e *stageError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// filesClient is the launcher's side of a stage.
type filesClient struct {
	child *userns.Child
	conn  *os.File
	mu    sync.Mutex
}

// startFiles starts a stage with the container's map. dirs are directories that
// it opens before it has it.
func startFiles(ctx context.Context, m userns.Map, dirs ...string) (*filesClient, error) {
	child, conn, err := startStageWith(ctx, []string{FilesStage, strconv.Itoa(len(dirs))}, m, dirs)
	return newFilesClient(child, conn, err)
}

// startFilesIn is startFiles in the container's own user namespace, whose file
// systems of FUSE are for those in it only.
func startFilesIn(ns *os.File) (*filesClient, error) {
	child, conn, err := startTalking(FilesStage, func(theirs *os.File) (*userns.Child, error) {
		return startSelfIn(ns, []string{FilesStage, "0"}, theirs)
	})
	return newFilesClient(child, conn, err)
}

func newFilesClient(child *userns.Child, conn *os.File, err error) (*filesClient, error) {
	if err != nil {
		return nil, fmt.Errorf("start the process for the container's files: %w", err)
	}
	_ = unix.SetNonblock(int(conn.Fd()), false)
	return &filesClient{child: child, conn: conn}, nil
}

func (c *filesClient) close() {
	c.conn.Close()
	_ = c.child.Kill() // it may wait for a file system of the container's
	_, _, _ = c.child.Wait()
	c.child.Close()
}

// call sends a request with descriptors and waits for the answer.
func (c *filesClient) call(r filesRequest, files ...*os.File) (filesReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var reply filesReply
	data, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := sendFiles(int(c.conn.Fd()), data, fds); err != nil {
		return reply, fmt.Errorf("speak to the process for the container's files: %w", err)
	}
	data, _, err = receiveFiles(int(c.conn.Fd()))
	if err == nil && len(data) == 0 {
		err = errors.New("it has ended")
	}
	if err == nil {
		err = json.Unmarshal(data, &reply)
	}
	if err != nil {
		return reply, fmt.Errorf("hear from the process for the container's files: %w", err)
	}
	if reply.Err != "" {
		return reply, &stageError{reply.Err, reply.Errno}
	}
	return reply, nil
}

// maxFilesMessage bounds messages; the longest is a root of many layers.
const maxFilesMessage = 180 << 10

func sendFiles(conn int, data []byte, fds []int) error {
	if len(data) > maxFilesMessage {
		return fmt.Errorf("a message of %d bytes: %w", len(data), unix.EMSGSIZE)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, err := plainfile.Retry(func() (int, error) { return 0, unix.Sendmsg(conn, data, oob, nil, unix.MSG_NOSIGNAL) })
	return err
}

func receiveFiles(conn int) (data []byte, files []*os.File, err error) {
	data, oob := make([]byte, maxFilesMessage), make([]byte, unix.CmsgSpace(4*250))
	var n, on int
	_, err = plainfile.Retry(func() (int, error) {
		var rerr error
		n, on, _, _, rerr = unix.Recvmsg(conn, data, oob, unix.MSG_CMSG_CLOEXEC)
		return n, rerr
	})
	if err != nil {
		return nil, nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		return nil, nil, err
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return nil, nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "the stream"))
		}
	}
	return data[:n], files, nil
}

// FilesMain is the stage's main; descriptor 3 is the socket, and argv[1] says how
// many directories there are from firstDir on.
func FilesMain() int {
	const conn = 3
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // see startSelfIn
	unix.Umask(0)
	s := &filesStage{root: -1}
	if len(os.Args) > 1 {
		s.dirs, _ = strconv.Atoi(os.Args[1])
	}
	for i := range s.dirs {
		unix.CloseOnExec(firstDir + i)
	}
	for {
		data, files, err := receiveFiles(conn)
		if err != nil || len(data) == 0 {
			return 0
		}
		var r filesRequest
		var reply filesReply
		if err = json.Unmarshal(data, &r); err == nil {
			err = s.serve(r, files, &reply)
		}
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			reply.Err = err.Error()
			errors.As(err, &reply.Errno)
		}
		data, err = json.Marshal(reply)
		if err != nil || sendFiles(conn, data, nil) != nil {
			return 1
		}
	}
}

// filesStage is the stage's state.
type filesStage struct {
	root int // the container's, -1 for none
	dirs int // how many it was given

	endFuse func() error // nil: no server runs for it
}

func (s *filesStage) serve(r filesRequest, files []*os.File, reply *filesReply) (err error) {
	if r.Op == "open" {
		return s.open(r.Root, files)
	}
	if s.root < 0 && r.needsRoot() {
		return errors.New("no root was opened")
	}
	switch r.Op {
	case "close":
		if s.endFuse != nil {
			err = s.endFuse()
		}
	case "stat":
		reply.Stat, err = statInside(s.root, r.Path, r.Pack.Follow)
	case "out":
		reply.Notes, err = s.out(r, files)
	case "in":
		reply.Notes, err = s.in(r, files)
	case "diff":
		err = s.diff(r.Diff, files)
	case "changes":
		err = s.changes(r.Changes, files, reply)
	case "tree":
		err = s.tree(r.Tree)
	default:
		err = fmt.Errorf("%q is no request", r.Op)
	}
	return err
}

// open takes the root over, or mounts it: where it is not mounted anywhere
// nobody else can reach it.
func (s *filesStage) open(root *fuse.Rootfs, files []*os.File) error {
	if root == nil {
		if len(files) != 1 {
			return errors.New("a root without a descriptor")
		}
		fd, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
		s.root = fd
		return err
	}
	s.byDescriptor(root, 0)
	// This mount namespace is the process's own, and the store is not there.
	const target = "/sys"
	mount := root.Mount
	if root.Kind == fuse.FuseOverlayFS {
		mount = func(target string) error { return s.serveFuse(root, target) }
	}
	if err := mount(target); err != nil {
		return err
	}
	fd, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	s.root = fd
	return nil
}

// serveFuse mounts a root of FUSE and starts its server, which ends with us, and
// in order by endFuse.
func (s *filesStage) serveFuse(root *fuse.Rootfs, target string) error {
	f := root.Fuse
	for _, d := range root.Mkdirs {
		if err := os.Mkdir(d.Path, os.FileMode(d.Mode).Perm()); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	dev, err := os.OpenFile(f.Device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	data := strings.Replace(f.MountData, "fd="+strconv.Itoa(f.FD), "fd="+strconv.Itoa(int(dev.Fd())), 1)
	if err := unix.Mount("fuse-overlayfs", target, "fuse", unix.MS_NODEV|unix.MS_NOSUID, data); err != nil {
		return fmt.Errorf("mount the root by %s: %w", f.Argv[0], err)
	}
	runtime.LockOSThread()                        // whose end would be the server's
	cmd := exec.Command(f.Argv[0], f.Argv[1:]...) //nolint:forbidigo // an interrupt ends us, and we it
	cmd.ExtraFiles = []*os.File{dev}              // descriptor 3: what ServerFD says
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	s.endFuse = func() error {
		unix.Close(s.root)
		s.root = -1
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			return err
		}
		return cmd.Wait()
	}
	return nil
}

// byDescriptor puts the given directories, from one on, in the place of an
// overlay's names, if there are any.
func (s *filesStage) byDescriptor(root *fuse.Rootfs, from int) {
	for i, p := range root.Params {
		if isLayer(p.Key) && from < s.dirs {
			root.Params[i].Value = "/proc/self/fd/" + strconv.Itoa(firstDir+from)
			from++
		}
	}
}

// isLayer says whether a parameter of an overlay is a directory.
func isLayer(key string) bool {
	return strings.HasSuffix(key, "dir+") || key == "upperdir" || key == "workdir"
}

func (s *filesStage) out(r filesRequest, files []*os.File) ([]string, error) {
	if len(files) != 1 {
		return nil, errors.New("out takes one descriptor")
	}
	p := newPacker(files[0], r.Pack)
	err := p.pack(s.root, r.Path)
	return p.notes, err
}

func (s *filesStage) in(r filesRequest, files []*os.File) ([]string, error) {
	if len(files) != 1 {
		return nil, errors.New("in takes one descriptor")
	}
	u := newUnpacker(r.Store)
	u.root, u.base = s.root, r.Path
	err := u.unpack(files[0])
	return u.notes, err
}
