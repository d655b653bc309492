package ctrlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// journal stands in for systemd-journald: it takes datagrams and memfds.
type journal struct{ conn *net.UnixConn }

func newJournal(t *testing.T) *journal {
	t.Helper()
	old := journalSocket
	t.Cleanup(func() { journalSocket = old })
	journalSocket = filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &journal{conn}
}

// entry reads the fields of the next entry.
func (j *journal) entry(t *testing.T) (fields map[string]string, byMemfd bool) {
	t.Helper()
	buf, oob := make([]byte, 1<<20), make([]byte, 64)
	n, oobn, _, _, err := j.conn.ReadMsgUnix(buf, oob)
	must(t, err)
	data := buf[:n]
	if n == 0 {
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		must(t, err)
		fds, err := unix.ParseUnixRights(&messages[0])
		must(t, err)
		f := os.NewFile(uintptr(fds[0]), "memfd")
		defer f.Close()
		// journald maps it only if nobody can change it any more.
		seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
		if all := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL; err != nil || seals != all {
			t.Errorf("seals %x, %v", seals, err)
		}
		data, err = io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
		must(t, err)
		byMemfd = true
	}
	fields = map[string]string{}
	for len(data) > 0 {
		name, rest, ok := strings.Cut(string(data), "\n")
		if !ok || len(rest) < 9 {
			t.Fatalf("%q is no field", data)
		}
		n := binary.LittleEndian.Uint64([]byte(rest))
		fields[name] = rest[8 : 8+n]
		if rest[8+n] != '\n' {
			t.Fatalf("field %s does not end with a newline", name)
		}
		data = []byte(rest[9+n:])
	}
	return fields, byMemfd
}

func TestJournald(t *testing.T) {
	j := newJournal(t)
	id := strings.Repeat("0123456789abcdef", 4)
	w := open(t, Options{Driver: Journald, ID: id, Name: "web"})
	_, _ = io.WriteString(w.Stream(Stdout), "one\nMESSAGE=forged\n")
	_, _ = io.WriteString(w.Stream(Stderr), strings.Repeat("x", maxRecord)+"y")
	must(t, w.Close())
	for i, want := range []map[string]string{
		{"MESSAGE": "one", "PRIORITY": "6"},
		{"MESSAGE": "MESSAGE=forged", "PRIORITY": "6"},
		{"MESSAGE": strings.Repeat("x", maxRecord), "PRIORITY": "3", "CONTAINER_PARTIAL_MESSAGE": "true"},
		{"MESSAGE": "y", "PRIORITY": "3", "CONTAINER_PARTIAL_MESSAGE": "true"},
	} {
		want["CONTAINER_ID_FULL"], want["CONTAINER_ID"], want["CONTAINER_NAME"], want["SYSLOG_IDENTIFIER"] = id, id[:12], "web", "web"
		if got, _ := j.entry(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("entry %d: got %.300v, want %.300v", i, got, want)
		}
	}
}

// What no datagram holds goes as a sealed file.
func TestJournaldMemfd(t *testing.T) {
	j := newJournal(t)
	w := open(t, Options{Driver: Journald, ID: strings.Repeat("a", 64), Tag: "t"})
	sink := w.sink.(*journalSink)
	must(t, unix.SetsockoptInt(sink.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096))
	text := strings.Repeat("z", maxRecord)
	_, _ = io.WriteString(w.Stream(Stdout), text+"\n")
	got, byMemfd := j.entry(t)
	if !byMemfd || got["MESSAGE"] != text || got["SYSLOG_IDENTIFIER"] != "t" || got["CONTAINER_TAG"] != "t" {
		t.Errorf("by memfd: %v; %.200v", byMemfd, got)
	}
	must(t, w.Close())
}

// A journal that is gone loses lines, counts them, and is found again.
func TestJournaldRestart(t *testing.T) {
	j := newJournal(t)
	at(t, "2026-01-02T03:04:05Z")
	clock := now()
	now = func() time.Time { return clock }
	var warned []string
	w := open(t, Options{Driver: Journald, ID: strings.Repeat("a", 64), Warn: func(s string) { warned = append(warned, s) }})
	j.conn.Close()
	must(t, os.Remove(journalSocket))
	_, _ = io.WriteString(w.Stream(Stdout), "lost\ntoo\n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	must(t, err)
	j.conn = conn
	t.Cleanup(func() { conn.Close() })
	clock = clock.Add(2 * retryAfter)
	_, _ = io.WriteString(w.Stream(Stdout), "back\n")
	must(t, w.Close())
	if got, _ := j.entry(t); !strings.HasPrefix(got["MESSAGE"], "coracle: 9 bytes (2 lines) of output are missing here") {
		t.Errorf("got %v", got)
	}
	if got, _ := j.entry(t); got["MESSAGE"] != "back" {
		t.Errorf("got %v", got)
	}
	if len(warned) != 1 {
		t.Errorf("warnings %q", warned)
	}
}

func TestNoJournald(t *testing.T) {
	old := journalSocket
	defer func() { journalSocket = old }()
	journalSocket = filepath.Join(t.TempDir(), "none")
	_, err := Open(Options{Driver: Journald, ID: strings.Repeat("a", 64)})
	if err == nil || !strings.Contains(err.Error(), "is systemd-journald running?") {
		t.Errorf("%v", err)
	}
}
