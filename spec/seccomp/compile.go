package seccomp

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Program is what seccomp(SECCOMP_SET_MODE_FILTER, Flags, &sock_fprog) wants.
type Program struct {
	// Filter is empty where the profile is: then there is nothing to load.
	Filter []unix.SockFilter
	// Flags are SECCOMP_FILTER_FLAG_*, with NEW_LISTENER if the filter
	// notifies: the system call then returns the listener's descriptor.
	Flags uint
	// ListenerPath and ListenerMetadata are the profile's, where it notifies.
	ListenerPath, ListenerMetadata string
	// Unknown are names of system calls that no architecture has, sorted.
	// Their rules are ignored, as runc does; a new kernel's call looks like
	// that, but so does a typing error.
	Unknown []string
	// Foreign are architectures of the profile that cannot occur on this
	// machine; they cost nothing and change nothing.
	Foreign []specs.Arch
}

// Notify says whether loading the filter yields a listener.
func (p Program) Notify() bool { return p.Flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 }

// profile is a LinuxSeccomp that has been read and found well.
type profile struct {
	other uint32 // return value of the default action
	calls []call
	abis  []abi

	// Space that entries uses for one ABI after the other.
	found, inOrder []entry
	keys           []uint64
}

// call is one name of an entry of syscalls.
type call struct {
	row   int // in tableNumbers
	rules []rule
}

// Compile makes the filter for a machine (GOARCH amd64 or arm64). Errors unwrap to
// ErrProfile, ErrTooLarge or ErrArch. Like runc, it takes a profile with
// neither default action nor system calls for no profile at all.
func Compile(p *specs.LinuxSeccomp, goarch string) (Program, error) {
	if p == nil || p.DefaultAction == "" && len(p.Syscalls) == 0 {
		return Program{}, nil
	}
	var out Program
	prof, err := read(p, goarch, &out)
	if err != nil {
		return Program{}, err
	}
	if out.Flags, err = parseFlags(p, &out); err != nil {
		return Program{}, err
	}
	b := newBuilder()
	first, err := prof.build(b)
	if err != nil {
		return Program{}, err
	}
	if out.Filter = emit(b.nodes, first); b.full || len(out.Filter) > maxInstructions {
		return Program{}, &sizeError{}
	}
	return out, nil
}

// read checks a profile and resolves its names.
func read(p *specs.LinuxSeccomp, goarch string, out *Program) (*profile, error) {
	n := 0
	for i := range p.Syscalls {
		n += len(p.Syscalls[i].Names)
	}
	n = min(n, 512) // more is the exception, and may grow
	prof := &profile{calls: make([]call, 0, n), found: make([]entry, 0, n+32), inOrder: make([]entry, 0, n+32), keys: make([]uint64, 0, n+32)}
	var err error
	if prof.abis, out.Foreign, err = selectABIs(p.Architectures, goarch); err != nil {
		return nil, err
	}
	prof.other, err = parseAction(p.DefaultAction, p.DefaultErrnoRet, root, ".defaultAction", ".defaultErrnoRet")
	if err != nil {
		return nil, err
	}
	if prof.other == unix.SECCOMP_RET_USER_NOTIF {
		// The very calls that hand over the listener would wait for it.
		return nil, &FieldError{root + ".defaultAction", "SCMP_ACT_NOTIFY cannot be the default"}
	}
	for i := range p.Syscalls {
		at := root + ".syscalls[" + strconv.Itoa(i) + "]"
		rules, err := parseRules(&p.Syscalls[i], at)
		if err != nil {
			return nil, err
		}
		if err := prof.addNames(p.Syscalls[i].Names, rules, at, out); err != nil {
			return nil, err
		}
	}
	slices.Sort(out.Unknown)
	out.Unknown = slices.Compact(out.Unknown)
	return prof, nil
}

func (prof *profile) addNames(names []string, rules []rule, at string, out *Program) error {
	notify := rules[0].action == unix.SECCOMP_RET_USER_NOTIF
	for j, name := range names {
		if name == "" {
			return &FieldError{at + ".names[" + strconv.Itoa(j) + "]", "empty"}
		}
		if notify && name == "write" {
			// As in runc: a container may write between loading the filter
			// and handing over the listener, and would wait for ever.
			return &FieldError{at + ".names[" + strconv.Itoa(j) + "]", "write cannot be notified"}
		}
		row := lookup(name)
		if row < 0 {
			out.Unknown = append(out.Unknown, name)
			continue
		}
		prof.calls = append(prof.calls, call{row, rules})
	}
	if notify {
		out.Flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	return nil
}

// selectABIs is the native ABI and those of its siblings that a profile names.
func selectABIs(names []specs.Arch, goarch string) (abis []abi, foreign []specs.Arch, err error) {
	all := abisOf(goarch)
	if all == nil {
		return nil, nil, fmt.Errorf("%w: %q (amd64 and arm64 have it)", ErrArch, goarch)
	}
	for i, name := range names {
		if !knownArch(name) {
			return nil, nil, &FieldError{root + ".architectures[" + strconv.Itoa(i) + "]", fmt.Sprintf("unknown architecture %.100q", name)}
		}
		if !slices.ContainsFunc(all, func(a abi) bool { return a.name == name }) {
			foreign = append(foreign, name)
		}
	}
	abis = all[:1:1]
	for _, a := range all[1:] {
		if slices.Contains(names, a.name) {
			abis = append(abis, a)
		}
	}
	return abis, foreign, nil
}

// parseFlags also checks and takes over the listener's settings. out.Flags
// says already whether there is one.
func parseFlags(p *specs.LinuxSeccomp, out *Program) (uint, error) {
	flags, notify := out.Flags, out.Notify()
	if p.Flags == nil {
		// runc's default for a profile that does not mention flags: the
		// mitigation that this avoids makes every process slower.
		flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	for i, f := range p.Flags {
		known, ok := flagByName(f)
		if !ok {
			return 0, &FieldError{root + ".flags[" + strconv.Itoa(i) + "]", fmt.Sprintf("unknown flag %.100q", f)}
		}
		// The kernel refuses some where there is no listener.
		if notify || !known.listener {
			flags |= known.bits
		}
	}
	switch {
	case p.ListenerPath == "" && p.ListenerMetadata != "":
		return 0, &FieldError{root + ".listenerMetadata", "set without listenerPath"}
	case p.ListenerPath == "" && notify:
		return 0, &FieldError{root + ".listenerPath", "missing, and a system call has the action SCMP_ACT_NOTIFY"}
	case notify:
		out.ListenerPath, out.ListenerMetadata = p.ListenerPath, p.ListenerMetadata
	}
	return flags, nil
}

// Check says what Compile would refuse of a profile, but for its size.
func Check(p *specs.LinuxSeccomp, goarch string) error {
	if p == nil || p.DefaultAction == "" && len(p.Syscalls) == 0 {
		return nil
	}
	var out Program
	if _, err := read(p, goarch, &out); err != nil {
		return err
	}
	_, err := parseFlags(p, &out)
	return err
}
