package seccomp

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// root is the JSON path of a LinuxSeccomp inside config.json.
const root = "linux.seccomp"

// maxArgs is how many arguments a system call has (seccomp_data.args).
const maxArgs = 6

// op is a comparison of one argument.
type op uint8

const (
	opEQ op = iota + 1
	opNE
	opLT
	opLE
	opGE
	opGT
	opMasked // argument & a == b
)

type cond struct {
	arg  uint8
	op   op
	a, b uint64
}

// rule is one line of a profile: all conditions must hold.
type rule struct {
	action uint32 // the filter's return value
	conds  []cond
}

var operators = [...]struct {
	name specs.LinuxSeccompOperator
	op   op
}{
	{specs.OpEqualTo, opEQ}, {specs.OpGreaterEqual, opGE}, {specs.OpGreaterThan, opGT}, {specs.OpLessEqual, opLE},
	{specs.OpLessThan, opLT}, {specs.OpMaskedEqual, opMasked}, {specs.OpNotEqual, opNE},
}

func parseOp(o specs.LinuxSeccompOperator) op {
	for i := range operators {
		if operators[i].name == o {
			return operators[i].op
		}
	}
	return 0
}

// actions are a filter's return values; withErrno ones have an errno in their
// low half.
var actions = [...]struct {
	name      specs.LinuxSeccompAction
	ret       uint32
	withErrno bool
}{
	{specs.ActAllow, unix.SECCOMP_RET_ALLOW, false},
	{specs.ActErrno, unix.SECCOMP_RET_ERRNO, true},
	{specs.ActKill, unix.SECCOMP_RET_KILL_THREAD, false},
	{specs.ActKillProcess, unix.SECCOMP_RET_KILL_PROCESS, false},
	{specs.ActKillThread, unix.SECCOMP_RET_KILL_THREAD, false},
	{specs.ActLog, unix.SECCOMP_RET_LOG, false},
	{specs.ActNotify, unix.SECCOMP_RET_USER_NOTIF, false},
	{specs.ActTrace, unix.SECCOMP_RET_TRACE, true},
	{specs.ActTrap, unix.SECCOMP_RET_TRAP, false},
}

// parseAction returns the value that a filter returns for an action. path and
// field name the places to complain about.
func parseAction(act specs.LinuxSeccompAction, errno *uint, path, field, errnoField string) (uint32, error) {
	for i := range actions {
		a := &actions[i]
		switch {
		case a.name != act:
		case errno == nil && a.withErrno:
			return a.ret | uint32(unix.EPERM), nil
		case errno == nil:
			return a.ret, nil
		case !a.withErrno:
			return 0, &FieldError{path + errnoField, fmt.Sprintf("action %.100q has no errno", act)}
		case *errno > unix.SECCOMP_RET_DATA:
			// Of an errno the kernel makes 4095 (MAX_ERRNO) at most; docker's own
			// example has 12345, so that is not refused.
			return 0, &FieldError{path + errnoField, fmt.Sprintf("%d is more than %d", *errno, unix.SECCOMP_RET_DATA)}
		default:
			return a.ret | uint32(*errno), nil
		}
	}
	if act == "" {
		return 0, &FieldError{path + field, "missing"}
	}
	return 0, &FieldError{path + field, fmt.Sprintf("unknown action %.100q", act)}
}

// parseRules turns one entry of syscalls into rules that hold for each of its
// names. More than one rule comes of an entry that names an argument twice.
func parseRules(sc *specs.LinuxSyscall, path string) ([]rule, error) {
	action, err := parseAction(sc.Action, sc.ErrnoRet, path, ".action", ".errnoRet")
	if err != nil {
		return nil, err
	}
	if len(sc.Names) == 0 {
		return nil, &FieldError{path + ".names", "missing"}
	}
	conds := make([]cond, 0, len(sc.Args))
	var seen [maxArgs]bool
	twice := false
	for i, arg := range sc.Args {
		at := path + ".args[" + strconv.Itoa(i) + "]"
		if arg.Index >= maxArgs {
			return nil, &FieldError{at + ".index", fmt.Sprintf("%d is not an argument (0 to %d)", arg.Index, maxArgs-1)}
		}
		o := parseOp(arg.Op)
		if o == 0 {
			return nil, &FieldError{at + ".op", fmt.Sprintf("unknown operator %.100q", arg.Op)}
		}
		twice = twice || seen[arg.Index]
		seen[arg.Index] = true
		conds = append(conds, cond{uint8(arg.Index), o, arg.Value, arg.ValueTwo})
	}
	if !twice {
		return []rule{{action, conds}}, nil
	}
	rules := make([]rule, len(conds))
	for i := range conds {
		rules[i] = rule{action, conds[i : i+1]}
	}
	return rules, nil
}

// narrow rewrites the conditions for an ABI whose arguments are 32 bits, and
// drops those that always hold, so that a rule with none left is one without
// arguments.
func (r *rule) narrow(wide bool) *rule {
	keep := r.conds[:0:0]
	for _, c := range r.conds {
		if !wide {
			c.a, c.b = c.a&0xffffffff, c.b&0xffffffff
		}
		if c.op == opMasked {
			c.b &= c.a
			if c.a == 0 {
				continue
			}
		}
		keep = append(keep, c)
	}
	return &rule{r.action, keep}
}
