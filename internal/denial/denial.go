// Package denial tells what a sandbox has refused to the command in it: what was tried,
// which wall stood there, how often, and the flag that would have allowed it.
//
// It only watches. What is refused is refused by namespaces, mounts, Landlock, the
// network and the system call filter; a listener of seccomp's (Listener) hears of calls
// before they are made, and what becomes of them is told by the plan. Whoever changes
// a path at that moment falsifies the account, and gets no further.
package denial

import (
	"cmp"
	"slices"
	"strings"
)

// Denial is one thing that was refused.
type Denial struct {
	// Kind is path, socket, syscall or network.
	Kind string `json:"kind"`
	// What is the path, the system call or the destination.
	What string `json:"what"`
	// Action is what was to be done with it: look, read, execute, write, remove,
	// connect, listen, call, resolve.
	Action string `json:"action"`
	// Wall is what refused it: hidden, credentials, read-only, protected, sockets,
	// landlock, seccomp, network.
	Wall  string `json:"wall"`
	Why   string `json:"why"` // in words
	Count uint64 `json:"count"`
	// Flag would allow it; "" where none does.
	Flag string `json:"flag,omitempty"`
	// Danger is why the flag is to be thought about twice; "" where it is not.
	Danger string `json:"danger,omitempty"`
}

// The kinds.
const (
	Path    = "path"
	Socket  = "socket"
	Syscall = "syscall"
	Network = "network"
)

// The walls.
const (
	Hidden      = "hidden"
	Credentials = "credentials"
	ReadOnly    = "read-only"
	Protected   = "protected"
	Sockets     = "sockets"
	Landlock    = "landlock"
	Seccomp     = "seccomp"
	NoNetwork   = "network"
)

// The actions.
const (
	Look    = "look"
	Read    = "read"
	Execute = "execute"
	Write   = "write"
	Remove  = "remove"
	Connect = "connect"
	Listen  = "listen"
	Call    = "call"
	Resolve = "resolve"
)

// weight orders actions by what they take: of several with one path the heaviest counts.
func weight(action string) int {
	return slices.Index([]string{Look, Read, Execute, Remove, Write, Connect, Listen, Call, Resolve}, action)
}

// most are kept apart: a command that tries every path there is is not to fill the memory.
const (
	most     = 1024
	longWhat = 4096
)

// List adds up. The zero List is empty and ready for use.
type List struct {
	byKey   map[[3]string]*Denial
	order   []*Denial
	further uint64
}

// Add counts one; what is alike but for the action is one.
func (l *List) Add(d Denial) {
	if len(d.What) > longWhat {
		d.What = d.What[:longWhat]
	}
	d.Count = max(d.Count, 1)
	key := [3]string{d.Kind, d.What, d.Wall}
	have := l.byKey[key]
	if have == nil && len(l.order) >= most {
		l.further += d.Count
		return
	}
	if have == nil {
		if l.byKey == nil {
			l.byKey = map[[3]string]*Denial{}
		}
		l.byKey[key] = &d
		l.order = append(l.order, &d)
		return
	}
	have.Count += d.Count
	if weight(d.Action) > weight(have.Action) {
		have.Action, have.Why, have.Flag, have.Danger = d.Action, d.Why, d.Flag, d.Danger
	}
}

// All are those that are kept apart, by kind and in the order in which they came, and
// the number of the rest.
func (l *List) All() (all []Denial, further uint64) {
	all = make([]Denial, 0, len(l.order))
	for _, d := range l.order {
		all = append(all, *d)
	}
	kinds := []string{Path, Socket, Network, Syscall}
	slices.SortStableFunc(all, func(a, b Denial) int {
		return cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind))
	})
	return all, l.further
}

// Access is what a command is about to do with a path, as far as could be seen.
type Access struct {
	Action string
	// Path is absolute and inside the sandbox, without links as far as it is there.
	Path   string
	Named  string // as it was named; "" where that is Path
	Exists bool
	// Parent says whether the directory that it is in is there.
	Parent bool
	// Create: it fails where something is there already (mkdir, link, …).
	Create bool
	// Reopened is a path of the host's own that is opened anew by a descriptor
	// (/proc/self/fd/N, /dev/stdin).
	Reopened bool
}

// Word is a word as a shell takes it.
func Word(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_~*"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
