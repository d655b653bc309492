package review

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is what has become of a path.
type Kind string

// Kinds of changes.
const (
	Created Kind = "created"
	Changed Kind = "changed"
	Deleted Kind = "deleted"
)

// Type is the kind of a file.
type Type string

// Types of files. What the others are is refused.
const (
	File      Type = "file"
	Directory Type = "directory"
	Link      Type = "link"
	Fifo      Type = "fifo"
	Socket    Type = "socket"
	Device    Type = "device"
)

func typeOf(mode uint32) Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFLNK:
		return Link
	case unix.S_IFIFO:
		return Fifo
	case unix.S_IFSOCK:
		return Socket
	}
	return Device
}

// Side is a file as one of the two sides has it.
type Side struct {
	Type   Type   `json:"type"`
	Mode   Mode   `json:"mode"`
	Size   int64  `json:"size"`             // of files, in bytes
	Target string `json:"target,omitempty"` // of links
}

// Mode is permissions with the set-id and sticky bits; in JSON octal, "0644".
type Mode uint32

// MarshalText writes it in octal.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Flag is a reason to look twice.
type Flag struct {
	Name FlagName `json:"flag"`
	Why  string   `json:"why"`
}

// FlagName groups the reasons.
type FlagName string

// The reasons.
const (
	FlagRuns    FlagName = "runs"    // other programs execute it, or do what it says, without being told to
	FlagBuild   FlagName = "build"   // a build tool does what it says
	FlagSetID   FlagName = "setid"   // setuid or setgid
	FlagOutside FlagName = "outside" // a link that leads out of the directory
)

// Change is a path that the sandbox sees otherwise than the host.
type Change struct {
	Kind Kind   `json:"kind"`
	Root string `json:"root"` // the host directory of the overlay
	Path string `json:"path"` // relative to it, "." for itself
	// PathBytes is the exact path where it is no UTF-8, which JSON cannot have.
	PathBytes []byte `json:"pathBytes,omitempty"`
	Now       *Side  `json:"now,omitempty"`
	Was       *Side  `json:"was,omitempty"`     // as the host has it at this moment
	Content   bool   `json:"content,omitempty"` // of Changed: other bytes, type or target
	Attrs     bool   `json:"attributes,omitempty"`
	Files     int    `json:"files,omitempty"` // how many the deleted or replaced directory has
	Flags     []Flag `json:"flags,omitempty"`
	// Conflict: the host's file has changed since the sandbox began; how.
	Conflict string `json:"conflict,omitempty"`
	// Refused: it is never applied; why.
	Refused string `json:"refused,omitempty"`

	overlay  int
	expected file // the host's, for the moment when it is replaced
	have     file // the sandbox's
}

func (c *Change) flag(name FlagName, why string) { c.Flags = append(c.Flags, Flag{name, why}) }

// Risky says whether some program may run what the change brings without being told to.
func (c *Change) Risky() bool {
	for _, f := range c.Flags {
		if f.Name != FlagBuild {
			return true
		}
	}
	return false
}
