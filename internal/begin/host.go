package begin

import (
	"coracle/fuse"
	"coracle/internal/plainfile"
)

// host is what each plan of a sandbox asks of the machine.
type host struct {
	mounts    fuse.HostMounts
	mountsErr error

	sockets    []byte // /proc/net/unix
	socketsErr error
}

func look() (h host) {
	info, err := plainfile.Read("/proc/self/mountinfo")
	if err == nil {
		h.mounts, err = fuse.ReadHostMounts(info)
	}
	h.mountsErr = err
	h.sockets, h.socketsErr = plainfile.Read("/proc/net/unix")
	return h
}

// Host is the mounts that this process sees, and /proc/net/unix: as Early has read them, for who
// asks first, and else as they are now.
type Host struct{ read *host }

func (h *Host) once() *host {
	if h.read != nil {
		return h.read
	}
	h.read = new(host)
	if ahead.host != nil {
		*h.read = <-ahead.host
		ahead.host = nil
	} else {
		*h.read = look()
	}
	return h.read
}

// Mounts are those that can be reached by path.
func (h *Host) Mounts() (fuse.HostMounts, error) { r := h.once(); return r.mounts, r.mountsErr }

// UnixSockets is /proc/net/unix.
func (h *Host) UnixSockets() ([]byte, error) { r := h.once(); return r.sockets, r.socketsErr }
