package fuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// factsVersion is raised whenever the probe learns to ask something new.
const factsVersion = 1

// Facts are what this kernel and the file system of one store allow a user
// namespace, each found by doing it, not by comparing versions.
type Facts struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"`   // /proc/sys/kernel/random/boot_id
	Device  uint64 `json:"device"` // st_dev of the store

	StoreFS    string `json:"storeFS,omitempty"`    // a file system that cannot hold an upper: NFS, eCryptfs, …
	Overlay    bool   `json:"overlay"`              // with userxattr, lower and upper on the store
	OverlayWhy string `json:"overlayWhy,omitempty"` // why not
	LowerOnly  bool   `json:"lowerOnly"`            // the store can be a lower, whatever the upper
	TmpfsUpper bool   `json:"tmpfsUpper"`           // an upper on a fresh tmpfs works over the store (6.6)
	LowerPlus  bool   `json:"lowerPlus"`            // lowerdir+ by fsconfig (6.7)
	MaxLayers  int    `json:"maxLayers"`            // lowers and datadirs together, 0: not known
	DataOnly   bool   `json:"dataOnly"`             // datadir+ with metadata trees works with userxattr (6.16)
	XinoOn     bool   `json:"xinoOn"`               // xino=on makes one st_dev of an upper on tmpfs and its lowers
	IndexOn    bool   `json:"indexOn"`              // index=on keeps hard links together across copy-up
	Volatile   bool   `json:"volatile"`             // the option exists (5.10)
	Whiteout   bool   `json:"whiteout"`             // mknod of 0:0 works on the store (5.8)
	HostLower  bool   `json:"hostLower"`            // /usr can be a lower (it cannot when overlays are already two deep)
	Reflink    bool   `json:"reflink"`              // FICLONE works on the store
}

// ProbeRequest says which store is asked about.
type ProbeRequest struct {
	Dir   string // an existing directory of the store, the caller's own
	Cache string // RUNROOT; "" for no cache
}

// Probe answers from the cache, else starts the probe process. It fails when
// not even a user namespace can be had; an overlay that does not work is an
// answer, and such an answer is not kept: what is in its way may be mended.
func Probe(ctx context.Context, r ProbeRequest) (Facts, error) {
	var st unix.Stat_t
	if err := unix.Stat(r.Dir, &st); err != nil {
		return Facts{}, fmt.Errorf("probe the store %s: %w", r.Dir, err)
	}
	boot := bootID()
	cache := ""
	if r.Cache != "" && boot != "" {
		cache = filepath.Join(r.Cache, "probe-"+strconv.FormatUint(st.Dev, 16))
		if f, ok := readFacts(cache); ok && f.Boot == boot && f.Device == st.Dev && f.Version == factsVersion {
			return f, nil
		}
	}
	f, err := runProbe(ctx, r.Dir)
	if err != nil {
		return Facts{}, err
	}
	f.Version, f.Boot, f.Device, f.StoreFS = factsVersion, boot, st.Dev, storeFS(r.Dir)
	if cache != "" && f.Overlay {
		writeFacts(cache, f)
	}
	return f, nil
}

// bootID is read by hand: this is on the way of every start.
func bootID() string {
	var buf [64]byte
	n, err := readSmall("/proc/sys/kernel/random/boot_id", buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(buf[:n]))
}

func readSmall(path string, buf []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.Read(fd, buf)
}

func readFacts(path string) (Facts, bool) {
	var buf [4096]byte
	n, err := readSmall(path, buf[:])
	if err != nil || n == len(buf) {
		return Facts{}, false
	}
	return parseFacts(string(buf[:n]))
}

// parseFacts reads what formatFacts wrote: a line for each value. JSON would
// have to learn about the structure at every start, for half a millisecond.
func parseFacts(text string) (f Facts, ok bool) {
	for _, p := range f.values() {
		var word string
		var err error
		if word, text, ok = strings.Cut(text, "\n"); !ok {
			return Facts{}, false
		}
		switch p := p.(type) {
		case *bool:
			*p, err = strconv.ParseBool(word)
		case *int:
			*p, err = strconv.Atoi(word)
		case *uint64:
			*p, err = strconv.ParseUint(word, 10, 64)
		case *string:
			*p, err = strconv.Unquote(word)
		}
		if err != nil {
			return Facts{}, false
		}
	}
	return f, text == ""
}

func formatFacts(f Facts) []byte {
	var b []byte
	for _, p := range f.values() {
		switch p := p.(type) {
		case *bool:
			b = strconv.AppendBool(b, *p)
		case *int:
			b = strconv.AppendInt(b, int64(*p), 10)
		case *uint64:
			b = strconv.AppendUint(b, *p, 10)
		case *string:
			b = strconv.AppendQuote(b, *p)
		}
		b = append(b, '\n')
	}
	return b
}

// values are all of them, in the order of the file; a change of it raises
// factsVersion.
func (f *Facts) values() []any {
	return []any{
		&f.Version, &f.Boot, &f.Device, &f.StoreFS, &f.Overlay, &f.OverlayWhy, &f.LowerOnly, &f.TmpfsUpper, &f.LowerPlus, &f.MaxLayers,
		&f.DataOnly, &f.XinoOn, &f.IndexOn, &f.Volatile, &f.Whiteout, &f.HostLower, &f.Reflink,
	}
}

// writeFacts keeps an answer. That it could not be kept costs only the next
// start some milliseconds, so nothing is said.
func writeFacts(path string, f Facts) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".probe-")
	if err != nil {
		return
	}
	_, err = tmp.Write(formatFacts(f))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
}

// NoUpper is the name of dir's file system, or of that in which it would be made, where
// it cannot hold the upper of an overlay, as far as the kind tells; "" for others.
func NoUpper(dir string) string {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.ENOENT) && dir != "/" {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	switch {
	case err != nil:
		return ""
	case st.Type == unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	}
	return breaksUpper(uint32(st.Type))
}

// storeFS is the name of a file system that cannot hold an upper, or that is
// known to break under one, "" for others. Numbers: linux/magic.h.
func storeFS(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return ""
	}
	return breaksUpper(uint32(st.Type))
}

// breaksUpper is storeFS by the number that statfs(2) gives.
func breaksUpper(magic uint32) string {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.ECRYPTFS_SUPER_MAGIC:
		return "eCryptfs"
	case 0xff534d42, 0xfe534d42, unix.SMB_SUPER_MAGIC:
		return "SMB"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "AFS"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE"
	case 0x0bd00bd0:
		return "Lustre"
	}
	return ""
}
