package builtin

import (
	"sync"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/buffer"
)

// rooms are what packets are read into. The stack gets a reference to a room, and when
// it has let it go the next packet is read there: gVisor's own are cleared each time,
// which takes a twentieth of all. While nothing comes they are the garbage collector's.
type rooms struct {
	idle sync.Pool
	lent *[]*buffer.View // the oldest first
}

// maxRooms are more than there are segments before they are handled.
const maxRooms = maxGathered + 8

//go:linkname sharesChunk gvisor.dev/gvisor/pkg/buffer.(*View).sharesChunk
func sharesChunk(*buffer.View) bool

// next gives a room that nobody uses.
func (r *rooms) next() *buffer.View {
	r.work()
	all := *r.lent
	if len(all) > 0 {
		oldest := all[0]
		free := !sharesChunk(oldest)
		if free || len(all) >= maxRooms {
			copy(all, all[1:])
			all[len(all)-1] = nil
			*r.lent = all[:len(all)-1]
		}
		if free {
			return oldest
		}
		if len(all) >= maxRooms { // it waits for a slow reader
			oldest.Release()
		}
	}
	return buffer.NewViewSize(maxPacket)
}

// lend remembers a room, and gives what the stack may have of it.
func (r *rooms) lend(v *buffer.View) *buffer.View {
	r.work()
	*r.lent = append(*r.lent, v)
	return v.Clone()
}

// work ends a rest.
func (r *rooms) work() {
	if r.lent == nil {
		r.lent, _ = r.idle.Get().(*[]*buffer.View)
	}
	if r.lent == nil {
		r.lent = new([]*buffer.View)
	}
}

// rest is for before nothing may come for long.
func (r *rooms) rest() {
	if r.lent != nil {
		r.idle.Put(r.lent)
		r.lent = nil
	}
}
