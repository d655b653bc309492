// Package pcap writes down a container's packets in the format that tcpdump and
// Wireshark read (draft-ietf-opsawg-pcap).
package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"coracle/netns"
)

// Writer is a netns.Tap. What it has not written to the file yet is written within a
// second, and by Close.
type Writer struct {
	mu    sync.Mutex
	file  *os.File
	buf   *bufio.Writer
	timer *time.Timer
	err   error // the first; nothing is written after it
}

var _ netns.Tap = (*Writer)(nil)

const (
	magic   = 0xa1b23c4d // times in nanoseconds
	raw     = 101        // LINKTYPE_RAW: IP's header comes first
	snapLen = 1 << 18    // longer than any packet

	flushTime = time.Second
)

// Create begins a capture, in the place of one that is there.
func Create(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	w := &Writer{file: f, buf: bufio.NewWriterSize(f, 128<<10)}
	head := binary.LittleEndian.AppendUint32(nil, magic)
	head = binary.LittleEndian.AppendUint16(head, 2) // version 2.4
	head = binary.LittleEndian.AppendUint16(head, 4)
	head = append(head, make([]byte, 8)...)
	head = binary.LittleEndian.AppendUint32(head, snapLen)
	head = binary.LittleEndian.AppendUint32(head, raw)
	if _, err := f.Write(head); err != nil { // at once: a full disk is found out before anything runs
		f.Close()
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	return w, nil
}

// Packet implements netns.Tap. The device's offloads show: a packet may have up to
// 64 KiB of a stream, and its checksum may be left to the kernel.
func (w *Writer) Packet(pieces ...[]byte) {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || n > snapLen {
		return
	}
	now := time.Now()
	var room [16]byte
	head := binary.LittleEndian.AppendUint32(room[:0], uint32(now.Unix()))
	head = binary.LittleEndian.AppendUint32(head, uint32(now.Nanosecond()))
	head = binary.LittleEndian.AppendUint32(head, uint32(n))
	head = binary.LittleEndian.AppendUint32(head, uint32(n))
	w.write(head)
	for _, p := range pieces {
		w.write(p)
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(flushTime, w.flush)
	}
}

func (w *Writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.buf.Write(b)
	}
}

func (w *Writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if w.err == nil {
		w.err = w.buf.Flush()
	}
}

// Close ends the capture. Its error says that packets are missing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	err := w.err
	w.err = os.ErrClosed
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("capture packets: the end is missing: %w", err)
	}
	return nil
}
