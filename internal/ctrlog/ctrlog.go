// Package ctrlog keeps what a container says: writers and readers of the log
// formats that users of podman and docker know.
//
// A Writer takes the bytes of the two streams as they come, in chunks of any
// size, and never fails towards its caller: the payload is not to be held up,
// nor ended, by a disk that is full. What cannot be written is dropped and
// counted, and the log says so itself as soon as it can be written again.
package ctrlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The drivers, in the words of --log-driver.
const (
	K8sFile  = "k8s-file"  // conmon's and the CRI's lines
	JSONFile = "json-file" // docker's objects
	Journald = "journald"
	None     = "none"
)

// Default is the driver of a detached container whose user names none. It
// keeps the bytes as they are; JSON has no way to say what is not UTF-8.
const Default = K8sFile

// Drivers lists what --log-driver takes.
func Drivers() []string { return []string{K8sFile, JSONFile, Journald, None} }

// Stream is one of a container's two output streams.
type Stream int

// The streams; a container with a terminal has Stdout only.
const (
	Stdout Stream = iota
	Stderr
)

func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Options say how one container's output is kept. ParseOptions makes them of
// a command line.
type Options struct {
	Driver  string // "" is Default
	Path    string // of the two file drivers
	MaxSize int64  // bytes of one file, after which it is rotated; 0: no limit
	MaxFile int    // files that are kept, the present one included; 0 is 1
	Tag     string // json-file: attribute, journald: CONTAINER_TAG

	// Whose output it is: journald's fields.
	ID, Name string

	// Warn is told, in a sentence, when output starts to be lost and when it is
	// kept again; nil is nobody. It must not block.
	Warn func(string)
}

// ErrDriver is in the error for a driver that there is not.
var ErrDriver = errors.New("no such log driver")

func checkDriver(name string) error {
	if slices.Contains(Drivers(), name) {
		return nil
	}
	return fmt.Errorf("--log-driver %s: %w (there are %s)", name, ErrDriver, strings.Join(Drivers(), ", "))
}
