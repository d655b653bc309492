package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"coracle/internal/plainfile"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Event is something that happened to a container, an image or a volume. The
// keys are podman's, whose `events --format json` prints the same. Source:
// podman-events(1), and what podman 4.3 prints.
type Event struct {
	ContainerExitCode *int              `json:",omitempty"` // of died
	Signal            int               `json:",omitempty"` // of kill, and of died by one
	OOMKilled         bool              `json:",omitempty"` // of died
	ID                string            `json:",omitempty"`
	Image             string            `json:",omitempty"` // of containers
	Name              string            `json:",omitempty"`
	Status            string            // what happened: create, start, died…
	Time              time.Time         `json:"Time"`
	Type              string            // container, image, volume
	HealthStatus      string            `json:"health_status,omitempty"`
	Attributes        map[string]string // labels
}

// The events are lines of JSON in ROOT/events/log, appended by whoever changes
// something, each time with one write. Once the file is large it becomes log.1,
// and the log.1 before is gone: so much is kept, and no more. An event that
// cannot be written, on a full disk or a store that is read-only, is lost, and
// what it tells of has happened all the same.
const (
	eventsFile  = "log"
	eventsLimit = 4 << 20
)

// eventStart is how each line begins. It cannot stand inside of one, where
// quotes are escaped.
const eventStart = `{"Time":"`

func (e *Engine) eventsDir() string { return filepath.Join(e.root, "events") }

// emit writes down what has happened.
func (e *Engine) emit(events ...Event) {
	if len(events) == 0 {
		return
	}
	var b []byte
	for _, ev := range events {
		b = ev.appendLine(b)
	}
	path := filepath.Join(e.eventsDir(), eventsFile)
	open := func() (int, error) {
		return plainfile.Retry(func() (int, error) {
			return unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		})
	}
	fd, err := open()
	if errors.Is(err, fs.ErrNotExist) && unix.Mkdir(e.eventsDir(), 0o700) == nil {
		fd, err = open()
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = plainfile.Retry(func() (int, error) { return unix.Write(fd, b) })
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size > eventsLimit {
		e.rotateEvents()
	}
}

// rotateEvents begins a new file, unless somebody else has this moment.
func (e *Engine) rotateEvents() {
	lock, err := plainfile.Lock(filepath.Join(e.eventsDir(), ".lock"), unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return
	}
	defer lock.Close()
	path := filepath.Join(e.eventsDir(), eventsFile)
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Size > eventsLimit {
		_ = unix.Rename(path, path+".1")
	}
}

// event is something that happens to the container now.
func (c Container) event(status string) Event {
	return Event{ID: c.ID, Image: c.Image, Name: c.Name, Status: status, Time: time.Now(), Type: "container", Attributes: c.Labels}
}

// died is the event of a container's end, as the record has it.
func (c Container) died() Event {
	ev := c.event("died")
	ev.ContainerExitCode, ev.Signal, ev.OOMKilled = &c.ExitCode, c.Signal, c.OOMKilled
	if !c.Finished.IsZero() {
		ev.Time = c.Finished
	}
	return ev
}

// hexOf is a digest without its algorithm; "" where there is none.
func hexOf(d digest.Digest) string {
	_, hex, _ := strings.Cut(string(d), ":")
	return hex
}

func volumeEvent(status, name string) Event {
	return Event{Name: name, Status: status, Time: time.Now(), Type: "volume"}
}

func imageEvent(status, id, name string) Event {
	return Event{ID: id, Name: name, Status: status, Time: time.Now(), Type: "image"}
}

// appendLine is what encoding/json would make of the event, with Time in front
// and a newline at the end: it is the only JSON that a short run writes, and the
// first use of that package costs a start more than all the rest of this.
func (ev Event) appendLine(b []byte) []byte {
	b = append(b, eventStart...)
	b = ev.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if ev.ContainerExitCode != nil {
		b = strconv.AppendInt(append(b, `,"ContainerExitCode":`...), int64(*ev.ContainerExitCode), 10)
	}
	if ev.Signal != 0 {
		b = strconv.AppendInt(append(b, `,"Signal":`...), int64(ev.Signal), 10)
	}
	if ev.OOMKilled {
		b = append(b, `,"OOMKilled":true`...)
	}
	for _, f := range [][2]string{{"ID", ev.ID}, {"Image", ev.Image}, {"Name", ev.Name}, {"Status", ev.Status}, {"Type", ev.Type}, {"health_status", ev.HealthStatus}} {
		if f[1] != "" {
			b = append(append(append(b, `,"`...), f[0]...), `":`...)
			b = appendQuoted(b, f[1])
		}
	}
	if len(ev.Attributes) > 0 {
		b = append(b, `,"Attributes":{`...)
		for i, k := range slices.Sorted(maps.Keys(ev.Attributes)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(append(appendQuoted(b, k), ':'), ev.Attributes[k])
		}
		b = append(b, '}')
	}
	return append(b, "}\n"...)
}

// appendQuoted appends a string of JSON.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // what is not UTF-8 comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// whole is a line from its beginning: where a disk was full, part of another
// may stand before it.
func wholeLine(line []byte) []byte {
	if i := bytes.LastIndex(line, []byte(eventStart)); i > 0 {
		return line[i:]
	}
	return line
}
