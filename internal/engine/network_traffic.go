package engine

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
)

// What comes by published ports goes through the container's loopback, where nobody
// tells it from the container's own. So whoever carries it writes down how much it was,
// for stats to add it: four numbers, of the first process and its start, and of bytes
// to the container and from it.
const trafficFile = "published"

type trafficRecord struct {
	PID, Started, In, Out uint64
}

// traffic is that file, which is there once there is something to say.
type traffic struct {
	path string

	mu     sync.Mutex
	of     trafficRecord // without the bytes
	f      *os.File
	closed bool
}

func (r *run) traffic() *traffic { return &traffic{path: filepath.Join(r.box.dir, trafficFile)} }

// begin says whose it is: what is told before is written down with what follows.
func (t *traffic) begin(pid int, started uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of = trafficRecord{PID: uint64(pid), Started: started} //nolint:gosec // a process
}

// write is forward.Streams' Tell. A disk that is full must not end a connection.
func (t *traffic) write(in, out uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.of.PID == 0 {
		return
	}
	if t.f == nil {
		f, err := os.OpenFile(t.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return
		}
		t.f = f
	}
	r := t.of
	r.In, r.Out = in, out
	b, err := binary.Append(nil, binary.NativeEndian, r)
	if err == nil {
		_, _ = t.f.WriteAt(b, 0)
	}
}

// close removes it.
func (t *traffic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.f != nil {
		t.f.Close()
		_ = os.Remove(t.path)
	}
}

// published is what has come to this process's container by published ports, and gone;
// nothing where nobody has written it down, or for an earlier process.
func published(dir string, pid, started uint64) (in, out uint64) {
	text, err := readLimited(filepath.Join(dir, trafficFile))
	var r trafficRecord
	if _, derr := binary.Decode([]byte(text), binary.NativeEndian, &r); err != nil || derr != nil || r.PID != pid || r.Started != started {
		return 0, 0
	}
	return r.In, r.Out
}
