package layer

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// extended collects the extended headers before an entry.
type extended struct {
	any                bool
	longName, longLink *string           // GNU
	pax                map[string]string // the last of each key
	xattrs             []xattr
	map00              []extent // GNU.sparse.offset and numbytes of version 0.0
	offset             *int64
}

func (e *extended) add(typ byte, data []byte) error {
	e.any = true
	switch typ {
	case typeLongName:
		s := cString(data)
		e.longName = &s
		return nil
	case typeLongLink:
		s := cString(data)
		e.longLink = &s
		return nil
	}
	for len(data) > 0 {
		key, value, rest, err := paxRecord(data)
		if err != nil {
			return err
		}
		data = rest
		if err := e.record(key, value); err != nil {
			return err
		}
	}
	return nil
}

// paxRecord reads "LENGTH KEY=VALUE\n", LENGTH counting all of it.
func paxRecord(b []byte) (key, value string, rest []byte, err error) {
	bad := fmt.Errorf("%w: a PAX record", ErrCorrupt)
	sp := bytes.IndexByte(b, ' ')
	if sp <= 0 || sp > 8 {
		return "", "", nil, bad
	}
	n, err := strconv.ParseUint(string(b[:sp]), 10, 32)
	if err != nil || n > uint64(len(b)) || n < uint64(sp)+3 || b[n-1] != '\n' {
		return "", "", nil, bad
	}
	key, value, ok := strings.Cut(string(b[sp+1:n-1]), "=")
	if !ok || key == "" || strings.IndexByte(key, 0) >= 0 {
		return "", "", nil, bad
	}
	return key, value, b[n:], nil
}

func (e *extended) record(key, value string) error {
	if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
		e.xattrs = append(e.xattrs, xattr{name, value})
		return nil
	}
	switch key {
	case "path", "linkpath", "size", "uid", "gid", "mtime",
		"GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.size",
		"GNU.sparse.realsize", "GNU.sparse.map", "GNU.sparse.numblocks":
		if e.pax == nil {
			e.pax = make(map[string]string)
		}
		e.pax[key] = value
	case "GNU.sparse.offset", "GNU.sparse.numbytes":
		return e.record00(key, value)
	}
	return nil
}

// record00 takes the map of sparse version 0.0, whose keys come again and again.
func (e *extended) record00(key, value string) error {
	v, err := paxInt(value)
	if err != nil {
		return err
	}
	if key == "GNU.sparse.offset" {
		if e.offset != nil {
			return fmt.Errorf("%w: a sparse map with two offsets in a row", ErrCorrupt)
		}
		e.offset = &v
		return nil
	}
	if e.offset == nil {
		return fmt.Errorf("%w: a sparse map with a length before its offset", ErrCorrupt)
	}
	e.map00 = append(e.map00, extent{*e.offset, v})
	e.offset = nil
	return nil
}

func (e *extended) sparse() bool {
	if e.map00 != nil {
		return true
	}
	for _, k := range []string{"GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.numblocks", "GNU.sparse.size", "GNU.sparse.realsize"} {
		if e.pax[k] != "" {
			return true
		}
	}
	return false
}

// apply changes an entry as its extended headers say. An empty value means that
// there is none, and the plain header's holds.
func (e *extended) apply(h *header) error {
	h.xattrs = e.xattrs
	for key, value := range e.pax {
		if value == "" {
			continue
		}
		var err error
		switch key {
		case "path":
			h.name = value
		case "linkpath":
			h.link = value
		case "size":
			h.stored, err = paxInt(value)
			h.size = h.stored
		case "uid":
			h.uid, err = paxInt(value)
		case "gid":
			h.gid, err = paxInt(value)
		case "mtime":
			h.sec, h.nsec, err = paxTime(value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if n := e.pax["GNU.sparse.name"]; n != "" {
		h.name = n
	}
	if e.longName != nil {
		h.name = *e.longName
	}
	if e.longLink != nil {
		h.link = *e.longLink
	}
	return nil
}

func paxInt(s string) (int64, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%w: the number %.40q", ErrCorrupt, s)
	}
	return v, nil
}

// paxTime reads seconds since 1970 with a fraction of any length: 1.5, -1.5.
func paxTime(s string) (sec, nsec int64, err error) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err = strconv.ParseInt(whole, 10, 64)
	bad := fmt.Errorf("%w: the time %.40q", ErrCorrupt, s)
	if err != nil || sec == math.MinInt64 || strings.Trim(frac, "0123456789") != "" {
		return 0, 0, bad
	}
	if frac != "" {
		nsec, err = strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		if err != nil {
			return 0, 0, bad
		}
	}
	if nsec != 0 && strings.HasPrefix(whole, "-") { // the kernel counts the fraction upwards
		sec, nsec = sec-1, 1e9-nsec
	}
	return sec, nsec, nil
}
