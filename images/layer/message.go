package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The launcher and [coracle:store] talk over a SOCK_SEQPACKET socket, one JSON
// message a packet:
//
//	launcher                          [coracle:store]
//	start (root's descriptor)   ->    becomes 0:0, chroots       the id maps are written by then
//	                            <-    reply
//	unpack (blob's descriptor)  ->                               and that of who lends the data, if any
//	finish, remove, …           ->                               any number at once, told apart by ID
//	                            <-    progress
//	cancel                      ->
//	                            <-    reply                      always one for each request
//	end of file                 ->    exits
//
// One end going away is the end of the other's work: nothing is left behind
// when either is killed.
const (
	opStart  = "start"
	opUnpack = "unpack"
	opFinish = "finish"
	opRemove = "remove"
	opCancel = "cancel"
)

// maxMessage is what a packet may hold; the kernel's default for the socket's
// buffer (net.core.wmem_max) is a little more.
const maxMessage = 200 << 10

// message is one packet. A request has an Op; a reply has Done; what has
// neither is progress of the request that it names.
type message struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op,omitempty"`
	Body json.RawMessage `json:"body,omitempty"`
	Err  *wireError      `json:"err,omitempty"`
	Done bool            `json:"done,omitempty"`
	Read int64           `json:"read,omitempty"`
}

// wire sends and receives messages. The descriptor is kept as a number: an
// os.File would want it in non-blocking mode for its poller.
type wire struct {
	fd  int
	wmu sync.Mutex
	buf []byte // of the one reader
}

// errTooLong is for what does not fit into a packet.
var errTooLong = errors.New("the message is too long")

func (w *wire) send(m message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return errTooLong
	}
	var oob []byte
	var fds []int
	for _, f := range files {
		if f != nil {
			fds = append(fds, int(f.Fd()))
		}
	}
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	w.wmu.Lock()
	defer w.wmu.Unlock()
	for {
		_, err = unix.SendmsgN(w.fd, b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// receive waits for a message, and gives the descriptors that came with it.
func (w *wire) receive() (m message, fds []int, err error) {
	if w.buf == nil {
		w.buf = make([]byte, maxMessage)
	}
	oob := make([]byte, unix.CmsgSpace(4*4))
	var n, oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(w.fd, w.buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return m, nil, err
	}
	fds = receivedFDs(oob[:oobn])
	switch {
	case n == 0:
		err = ErrStageGone
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errTooLong
	default:
		err = json.Unmarshal(w.buf[:n], &m)
	}
	if err != nil {
		closeAll(fds)
		fds = nil
	}
	return m, fds, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func receivedFDs(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// wireError is an error on its way: what errors.Is and errors.As find on one
// side, they find on the other.
type wireError struct {
	Text     string         `json:"text"`
	Is       []string       `json:"is,omitempty"` // names of sentinels
	Errno    int            `json:"errno,omitempty"`
	Hint     string         `json:"hint,omitempty"`
	TooBig   *TooBigError   `json:"tooBig,omitempty"`
	Unmapped *UnmappedError `json:"unmapped,omitempty"`
}

// sentinels are the errors that cross the socket by name.
func sentinels() map[string]error {
	return map[string]error{
		"diffID": ErrDiffID, "digest": ErrDigest, "mediaType": ErrMediaType, "truncated": ErrTruncated,
		"corrupt": ErrCorrupt, "badEntry": ErrBadEntry, "canceled": context.Canceled, "deadline": context.DeadlineExceeded,
		"refused": ErrRefused,
	}
}

func toWire(err error) *wireError {
	w := &wireError{Text: err.Error()}
	for name, s := range sentinels() {
		if errors.Is(err, s) {
			w.Is = append(w.Is, name)
		}
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		w.Errno = int(errno)
	}
	if errors.As(err, &w.TooBig) || errors.As(err, &w.Unmapped) {
		return w
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		w.Hint = h.Hint()
	}
	return w
}

// stageError is an error that came from the stage.
type stageError struct {
	text   string
	causes []error
}

func (e *stageError) Error() string   { return e.text }
func (e *stageError) Unwrap() []error { return e.causes }

// hintError carries a hint of the stage's.
type hintError struct{ text, hint string }

func (e *hintError) Error() string { return e.text }
func (e *hintError) Hint() string  { return e.hint }

func (w *wireError) error() error {
	e := &stageError{text: w.Text}
	known := sentinels()
	for _, name := range w.Is {
		if s := known[name]; s != nil {
			e.causes = append(e.causes, s)
		}
	}
	if w.Errno != 0 {
		e.causes = append(e.causes, unix.Errno(w.Errno))
	}
	if w.TooBig != nil {
		e.causes = append(e.causes, w.TooBig)
	}
	if w.Unmapped != nil {
		e.causes = append(e.causes, w.Unmapped)
	}
	if w.Hint != "" {
		e.causes = append(e.causes, &hintError{w.Text, w.Hint})
	}
	return e
}

// decode reads a message's body.
func decode[T any](body json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("read a message to the store process: %w", err)
	}
	return v, nil
}
