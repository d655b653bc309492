package ctrlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// journalSocket is a variable for tests only.
var journalSocket = "/run/systemd/journal/socket"

// journalSink speaks the journal's native protocol, with the fields of conmon:
// a datagram for each line, and a sealed memfd for what no datagram holds.
type journalSink struct {
	Options
	fd   int
	head [2][]byte
	buf  []byte
	loss loss
}

func openJournal(o Options) (*journalSink, error) {
	if len(o.ID) < 12 {
		return nil, errors.New("journald: the container's id is missing")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("journald: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: journalSocket}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("journald: connect to %s: %w (is systemd-journald running?)", journalSocket, err)
	}
	// More than one line on its way; what is refused above is not needed.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	s := &journalSink{Options: o, fd: fd}
	for i, priority := range []string{"6", "3"} {
		s.head[i] = s.fields(priority)
	}
	return s, nil
}

func (s *journalSink) fields(priority string) []byte {
	ident := s.ID[:12]
	if s.Name != "" {
		ident = s.Name
	}
	if s.Tag != "" {
		ident = s.Tag
	}
	b := appendField(nil, "CONTAINER_ID_FULL", []byte(s.ID))
	b = appendField(b, "CONTAINER_ID", []byte(s.ID[:12]))
	if s.Name != "" {
		b = appendField(b, "CONTAINER_NAME", []byte(s.Name))
	}
	if s.Tag != "" {
		b = appendField(b, "CONTAINER_TAG", []byte(s.Tag))
	}
	b = appendField(b, "SYSLOG_IDENTIFIER", []byte(ident))
	return appendField(b, "PRIORITY", []byte(priority))
}

// appendField always takes the form with a length: no value can end it.
func appendField(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, value...), '\n')
}

func (s *journalSink) write(st *StreamWriter, p []byte) {
	for len(p) > 0 {
		piece := p[:min(len(p), maxRecord-len(st.carry)+1)]
		i := bytes.IndexByte(piece, '\n')
		switch {
		case i < 0 && len(st.carry)+len(piece) <= maxRecord:
			st.carry = append(st.carry, piece...)
			return
		case i < 0:
			piece = piece[:maxRecord-len(st.carry)]
			st.carry = append(st.carry, piece...)
			s.send(st, true)
			p = p[len(piece):]
		default:
			st.carry = append(st.carry, piece[:i]...)
			s.send(st, false)
			p = p[i+1:]
		}
	}
}

func (s *journalSink) flush(st *StreamWriter) {
	if len(st.carry) > 0 {
		s.send(st, true)
	}
}

// send sends what is carried.
func (s *journalSink) send(st *StreamWriter, partial bool) {
	t := now()
	if s.loss.err != nil && t.After(s.loss.retry) {
		text := fmt.Sprintf("coracle: %d bytes (%d lines) of output are missing here: %v", s.loss.bytes, s.loss.lines, s.loss.err)
		if err := s.datagram(Stderr, []byte(text), false); err == nil {
			s.loss = loss{}
		} else {
			s.loss.retry = t.Add(retryAfter)
		}
	}
	err := s.loss.err
	if err == nil {
		if err = s.datagram(st.stream, st.carry, partial); err != nil && s.Warn != nil {
			s.Warn(fmt.Sprintf("write to the journal: %v: output is lost until it takes more", err))
		}
		s.loss.retry = t.Add(retryAfter)
	}
	if err != nil {
		s.loss.err = err
		s.loss.bytes += int64(len(st.carry))
		if !partial {
			s.loss.bytes++
			s.loss.lines++
		}
	}
	st.carry = st.carry[:0]
}

func (s *journalSink) datagram(stream Stream, message []byte, partial bool) error {
	s.buf = append(s.buf[:0], s.head[stream]...)
	if partial {
		s.buf = appendField(s.buf, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
	}
	s.buf = appendField(s.buf, "MESSAGE", message)
	for tries := 0; ; tries++ {
		err := unix.Sendto(s.fd, s.buf, unix.MSG_NOSIGNAL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS):
			return s.memfd()
		case errors.Is(err, unix.EAGAIN) && tries == 0:
			// The journal is behind: give it a moment, as a disk would take one.
			s.wait()
		case (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTCONN)) && tries == 0:
			// journald was restarted: its socket is another one now.
			if cerr := unix.Connect(s.fd, &unix.SockaddrUnix{Name: journalSocket}); cerr != nil {
				return cerr
			}
		default:
			return err
		}
	}
}

func (s *journalSink) wait() {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, int(retryAfter.Milliseconds()))
}

// memfd hands over a sealed file in place of a datagram.
func (s *journalSink) memfd() error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("memfd for the journal: %w", err)
	}
	defer unix.Close(fd)
	for rest := s.buf; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return fmt.Errorf("memfd for the journal: %w", err)
		}
		rest = rest[n:]
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal the memfd for the journal: %w", err)
	}
	return unix.Sendmsg(s.fd, nil, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
}

func (s *journalSink) close() error {
	unix.Close(s.fd)
	if s.loss.err != nil {
		return fmt.Errorf("write to the journal: %w: %d bytes (%d lines): %w", errLost, s.loss.bytes, s.loss.lines, s.loss.err)
	}
	return nil
}
