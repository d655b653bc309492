package engine

import "context"

// Verdict is how a check came out.
type Verdict string

// The three ways.
const (
	VerdictOK   Verdict = "ok"
	VerdictWarn Verdict = "warn" // something is missing, `run` works
	VerdictFail Verdict = "fail" // `run` cannot work
)

// Check is one thing that can be wrong with the machine.
type Check struct {
	Name   string  `json:"name"` // stable: scripts ask for it
	Status Verdict `json:"status"`
	Detail string  `json:"detail"` // one line: what was found
	Hint   string  `json:"hint"`   // what to type; may have several lines
}

func passes(name, detail string) Check      { return Check{name, VerdictOK, detail, ""} }
func warns(name, detail, hint string) Check { return Check{name, VerdictWarn, detail, hint} }
func fails(name, detail, hint string) Check { return Check{name, VerdictFail, detail, hint} }

// Doctor looks at everything that a start depends on. Only what makes `run`
// impossible has VerdictFail.
func (e *Engine) Doctor(ctx context.Context) []Check {
	return examine(e.doctorFacts(ctx))
}

// CanRun says whether no check has failed.
func CanRun(checks []Check) bool {
	for _, c := range checks {
		if c.Status == VerdictFail {
			return false
		}
	}
	return true
}

// examine is the pure part: facts in, checks out, in the order of a start.
func examine(f doctorFacts) []Check {
	checks := []Check{checkCaller(f), checkSubIDs(f)}
	checks = append(checks, checkHelpers(f)...)
	checks = append(checks,
		checkUserNamespaces(f), checkIDMaps(f), checkNamespaces(f),
		checkStore(f), checkStoreFilesystem(f), checkDiskSpace(f), checkInodes(f),
		checkOverlay(f), checkFuse(f), checkTun(f), checkPing(f), checkCgroup(f), checkLimits(f),
		checkRuntimeDir(f), checkLinger(f),
		checkKernel(f), checkSeccomp(f), checkAppArmor(f), checkSELinux(f), checkLandlock(f))
	return append(checks, checkPrograms(f)...)
}
