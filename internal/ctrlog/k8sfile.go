package ctrlog

import (
	"bytes"
	"time"
)

// maxRecord is the longest piece of a line in one record, in both formats: what
// docker and containerd take. A longer line is several records.
const maxRecord = 16 << 10

// k8sTime is conmon's: local time, nine digits, an offset in numbers, so that
// all records have heads of one length.
const k8sTime = "2006-01-02T15:04:05.000000000-07:00"

// k8sHead is the length of "TIME stdout F ".
const k8sHead = len(k8sTime) + len(" stdout F ")

// format makes records. Each ends with the only newline in it.
type format interface {
	// stamp sets the time of the records to come.
	stamp(t time.Time)
	// records appends records of p to dst as long as they are sure to fit into
	// its capacity, and gives what remains of p.
	records(dst []byte, s *StreamWriter, p []byte) (out, rest []byte)
	// carried appends what s carries as an unfinished line.
	carried(dst []byte, s *StreamWriter) []byte
	// need says how much room an empty dst must have: for the first record of
	// what s carries and p, at least; for all of them, if that is no more.
	need(s *StreamWriter, p []byte) int
	// partial says whether a record is of a line that goes on.
	partial(record []byte) bool
	// payload counts the payload's bytes in a record.
	payload(record []byte) int
}

type k8sFormat struct {
	time  []byte
	heads [2][2][]byte // by stream and by whether the line is finished
}

func newK8sFormat() *k8sFormat { return &k8sFormat{} }

func (f *k8sFormat) stamp(t time.Time) {
	f.time = t.AppendFormat(f.time[:0], k8sTime+" ")
	for _, s := range []Stream{Stdout, Stderr} {
		for full, tag := range []string{" P ", " F "} {
			b := append(f.heads[s][full][:0], f.time...)
			f.heads[s][full] = append(append(b, s.String()...), tag...)
		}
	}
}

func (f *k8sFormat) records(dst []byte, s *StreamWriter, p []byte) (out, rest []byte) {
	part, full := f.heads[s.stream][0], f.heads[s.stream][1]
	for len(p) > 0 && cap(dst)-len(dst) >= k8sHead+maxRecord+1 {
		line := p[:min(len(p), maxRecord+1)]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			dst = append(append(dst, full...), line[:i+1]...)
			p, s.open = p[i+1:], false
			continue
		}
		line = line[:min(len(line), maxRecord)]
		dst = append(append(append(dst, part...), line...), '\n')
		p, s.open = p[len(line):], true
	}
	return dst, p
}

// Nothing is carried: the format knows unfinished lines, and a follower sees a
// prompt at once.
func (f *k8sFormat) carried(dst []byte, _ *StreamWriter) []byte { return dst }

func (f *k8sFormat) need(_ *StreamWriter, p []byte) int {
	return 2*len(p) + k8sHead + maxRecord + 1
}

func (f *k8sFormat) partial(r []byte) bool { return len(r) >= k8sHead && r[k8sHead-2] == 'P' }

func (f *k8sFormat) payload(r []byte) int {
	if f.partial(r) {
		return len(r) - k8sHead - 1
	}
	return len(r) - k8sHead
}
