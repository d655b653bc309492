package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxProfile bounds the JSON of a profile. docker's default has 13 KiB.
const maxProfile = 4 << 20

// The format of docker and podman: a LinuxSeccomp with conditions. What they
// do not know they ignore, and so does this; a wrong type is refused.
type jsonProfile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	DefaultErrno     string                   `json:"defaultErrno"` // podman: a name, counts more than the number
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []jsonArch               `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []json.RawMessage        `json:"syscalls"`
}

type jsonArch struct {
	Architecture     specs.Arch   `json:"architecture"`
	SubArchitectures []specs.Arch `json:"subArchitectures"`
}

type jsonSyscall struct {
	Name     string                   `json:"name"` // docker before 1.11
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Errno    string                   `json:"errno"` // podman
	Args     []json.RawMessage        `json:"args"`
	Includes jsonCondition            `json:"includes"`
	Excludes jsonCondition            `json:"excludes"`
}

type jsonCondition struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// LoadProfile reads a profile in docker's JSON (archMap, includes, excludes,
// minKernel; podman's errno names) or the runtime-spec's, resolves it as
// Default does, and checks it as Compile does. Errors that unwrap to
// ErrProfile carry the JSON path inside the file.
func LoadProfile(body []byte, caps []string, goarch string) (*specs.LinuxSeccomp, error) {
	t, err := newTarget(caps, goarch)
	if err != nil {
		return nil, err
	}
	out, err := t.load(body)
	if err != nil {
		return nil, err
	}
	if _, err := Compile(out, goarch); err != nil {
		return nil, relative(err)
	}
	return out, nil
}

// relative makes a path of config.json one of the profile's own file.
func relative(err error) error {
	var field *FieldError
	if errors.As(err, &field) {
		return &FieldError{strings.TrimPrefix(field.Path, root+"."), field.Msg}
	}
	return err
}

func (t target) load(body []byte) (*specs.LinuxSeccomp, error) {
	if len(body) > maxProfile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrProfile, maxProfile)
	}
	var src jsonProfile
	if err := decode(body, "", &src); err != nil {
		return nil, err
	}
	if src.DefaultAction == "" {
		// docker takes {} for "no filter"; who wants that can say so.
		return nil, &FieldError{"defaultAction", "missing"}
	}
	out := &specs.LinuxSeccomp{
		DefaultAction: src.DefaultAction, DefaultErrnoRet: src.DefaultErrnoRet, Flags: src.Flags,
		ListenerPath: src.ListenerPath, ListenerMetadata: src.ListenerMetadata,
	}
	var err error
	if out.DefaultErrnoRet, err = errnoByName(src.DefaultErrno, src.DefaultErrnoRet, "defaultErrno"); err != nil {
		return nil, err
	}
	if out.Architectures, err = t.architectures(&src); err != nil {
		return nil, err
	}
	for i, raw := range src.Syscalls {
		at := "syscalls[" + strconv.Itoa(i) + "]"
		sc, wanted, err := t.loadSyscall(raw, at)
		if err != nil {
			return nil, err
		}
		if wanted {
			out.Syscalls = append(out.Syscalls, sc)
		}
	}
	return out, nil
}

func (t target) architectures(src *jsonProfile) ([]specs.Arch, error) {
	if len(src.ArchMap) == 0 {
		return src.Architectures, nil
	}
	if len(src.Architectures) > 0 {
		return nil, &FieldError{"archMap", "given together with architectures"}
	}
	for _, a := range src.ArchMap {
		if a.Architecture == t.nativeArch() {
			return append([]specs.Arch{a.Architecture}, a.SubArchitectures...), nil
		}
	}
	return nil, nil
}

func (t target) loadSyscall(raw json.RawMessage, at string) (sc specs.LinuxSyscall, wanted bool, err error) {
	var src jsonSyscall
	if err := decode(raw, at, &src); err != nil {
		return sc, false, err
	}
	sc = specs.LinuxSyscall{Names: src.Names, Action: src.Action}
	if src.Name != "" {
		if len(src.Names) > 0 {
			return sc, false, &FieldError{at + ".names", "given together with name"}
		}
		sc.Names = []string{src.Name}
	}
	if sc.ErrnoRet, err = errnoByName(src.Errno, src.ErrnoRet, at+".errno"); err != nil {
		return sc, false, err
	}
	for i, raw := range src.Args {
		var arg specs.LinuxSeccompArg
		if err := decode(raw, at+".args["+strconv.Itoa(i)+"]", &arg); err != nil {
			return sc, false, err
		}
		sc.Args = append(sc.Args, arg)
	}
	includes, err := src.Includes.read(at + ".includes")
	if err != nil {
		return sc, false, err
	}
	excludes, err := src.Excludes.read(at + ".excludes")
	if err != nil {
		return sc, false, err
	}
	// What does not apply here must still be right: the profile is the same
	// file on the next machine.
	if _, err := parseRules(&sc, at); err != nil {
		return sc, false, err
	}
	return sc, t.included(includes) && !t.excluded(excludes), nil
}

func (c jsonCondition) read(at string) (condition, error) {
	out := condition{caps: c.Caps, arches: c.Arches}
	if c.MinKernel == "" {
		return out, nil
	}
	major, minor, _ := strings.Cut(c.MinKernel, ".")
	x, err := strconv.ParseUint(major, 10, 8)
	y, err2 := strconv.ParseUint(minor, 10, 8)
	if err != nil || err2 != nil || x == 0 && y == 0 {
		return out, &FieldError{at + ".minKernel", fmt.Sprintf("%.100q is not MAJOR.MINOR", c.MinKernel)}
	}
	out.minKernel = kernelVersion{x, y}
	return out, nil
}

// decode reads one JSON value and names what has the wrong type.
func decode(body []byte, at string, into any) error {
	err := json.Unmarshal(body, into)
	if err == nil {
		if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
			return &FieldError{orFile(at), "null"}
		}
		return nil
	}
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		path := at
		if typ.Field != "" {
			path = strings.TrimPrefix(at+"."+typ.Field, ".")
		}
		return &FieldError{orFile(path), fmt.Sprintf("is a JSON %s, wanted %s", typ.Value, jsonKind(typ.Type.String()))}
	}
	return fmt.Errorf("%w: %s: %w", ErrProfile, orFile(at), err)
}

func orFile(path string) string {
	if path == "" {
		return "profile"
	}
	return path
}

func jsonKind(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "an array"
	case strings.HasPrefix(goType, "uint"):
		return "a number that is not negative"
	case strings.HasPrefix(goType, "seccomp."):
		return "an object"
	case goType == "specs.LinuxSeccompArg":
		return "an object"
	}
	return "a string"
}

// errnoByName is the number of a name, which counts more than a number given
// beside it.
func errnoByName(name string, number *uint, at string) (*uint, error) {
	switch name {
	case "":
		return number, nil
	case "EWOULDBLOCK": // the names that the table lists under another one
		name = "EAGAIN"
	case "ENOTSUP":
		name = "EOPNOTSUPP"
	case "EDEADLOCK":
		name = "EDEADLK"
	}
	for e := uint(1); e < 200; e++ {
		if unix.ErrnoName(syscall.Errno(e)) == name {
			return &e, nil
		}
	}
	return nil, &FieldError{at, fmt.Sprintf("unknown errno %.100q", name)}
}
