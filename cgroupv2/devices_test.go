package cgroupv2

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func parseRules(t *testing.T, text string) ([]deviceRule, error) {
	t.Helper()
	var in []specs.LinuxDeviceCgroup
	must(t, json.Unmarshal([]byte(text), &in))
	return deviceRules(in)
}

const denyAll = `{"allow":false,"access":"rwm"}`

func ruleSets() map[string]string {
	return map[string]string{
		"nothing":              `[]`,
		"deny all":             `[` + denyAll + `]`,
		"allow all":            `[{"allow":true,"access":"rwm"}]`,
		"one device":           `[` + denyAll + `,{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]`,
		"read only":            `[` + denyAll + `,{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]`,
		"a hole":               `[` + denyAll + `,{"allow":true,"type":"b","major":8,"access":"rwm"},{"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]`,
		"all but one":          `[{"allow":true,"type":"a","access":"rwm"},{"allow":false,"type":"c","major":10,"access":"rw"}]`,
		"order":                `[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},` + denyAll + `]`,
		"null is denied":       `[` + denyAll + `,{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]`,
		"both kinds":           `[` + denyAll + `,{"allow":true,"major":8,"minor":0,"access":"rm"}]`,
		"minor alone":          `[` + denyAll + `,{"allow":true,"type":"c","minor":229,"access":"r"}]`,
		"wildcards of docker":  `[{"allow":false,"major":-1,"minor":-1,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":-1,"access":"r"}]`,
		"two halves":           `[` + denyAll + `,{"allow":true,"type":"b","major":8,"minor":0,"access":"r"},{"allow":true,"type":"b","major":8,"minor":0,"access":"w"}]`,
		"terminals unbuffered": `[` + denyAll + `,{"allow":true,"type":"u","major":4,"minor":64,"access":"rw"}]`,
	}
}

// What the rules say, of some devices (kind major:minor): the letters that are
// allowed.
func TestDenied(t *testing.T) {
	for name, want := range map[string]string{
		"nothing":              "c10:229 m, b8:0 m, c1:3 rwm, c136:7 rwm",
		"deny all":             "c10:229 m, b8:0 m, c1:3 rwm, c5:2 rwm, c136:9 rwm, c1:1 m",
		"allow all":            "c10:229 rwm, b8:0 rwm, c1:1 rwm",
		"one device":           "c10:229 rwm, c10:228 m, b10:229 m",
		"read only":            "b8:0 rm, b8:1 m",
		"a hole":               "b8:0 rwm, b8:1 rm, b8:2 rwm",
		"all but one":          "c10:229 m, c11:0 rwm, b10:229 rwm",
		"order":                "c10:229 m",
		"null is denied":       "c1:3 rm, c1:5 rwm",
		"both kinds":           "b8:0 rm, c8:0 rm, b8:1 m",
		"minor alone":          "c10:229 rm, c11:229 rm, c11:1 m",
		"wildcards of docker":  "c10:5 rm, c11:5 m",
		"two halves":           "b8:0 rwm",
		"terminals unbuffered": "c4:64 rwm, c4:65 m",
	} {
		rules, err := parseRules(t, ruleSets()[name])
		must(t, err)
		for part := range strings.SplitSeq(want, ", ") {
			dev, letters, _ := strings.Cut(part, " ")
			kind := map[byte]int32{'c': devChar, 'b': devBlock}[dev[0]]
			major, minor, _ := strings.Cut(dev[1:], ":")
			no := denied(rules, kind, int64(parseNumber(major)), int64(parseNumber(minor)), accAll)
			got := ""
			for _, c := range []struct {
				letter string
				bit    int32
			}{{"r", accRead}, {"w", accWrite}, {"m", accMknod}} {
				if no&c.bit == 0 {
					got += c.letter
				}
			}
			if got != letters {
				t.Errorf("%s: %s is allowed %q, want %q", name, dev, got, letters)
			}
		}
	}
}

// interpret runs a program as the kernel does.
func interpret(t *testing.T, p []instruction, kind, access int32, major, minor uint32) uint32 {
	t.Helper()
	var reg [11]uint64
	ctx := [3]uint32{uint32(access)<<16 | uint32(kind), major, minor}
	for pc, steps := 0, 0; pc < len(p); pc, steps = pc+1, steps+1 {
		if steps > len(p) {
			t.Fatal("a program that goes backwards")
		}
		i := p[pc]
		switch i.code {
		case opLoad:
			if i.src != regCtx || i.off%4 != 0 || i.off < 0 || i.off > 8 {
				t.Fatalf("loads %+v", i)
			}
			reg[i.dst] = uint64(ctx[i.off/4])
		case opMov:
			reg[i.dst] = uint64(uint32(i.imm))
		case opAnd:
			reg[i.dst] = uint64(uint32(reg[i.dst]) & uint32(i.imm))
		case opShift:
			reg[i.dst] = uint64(uint32(reg[i.dst]) >> uint32(i.imm))
		case opJump:
			pc += int(i.off)
		case opNotEq:
			if reg[i.dst] != uint64(int64(i.imm)) {
				pc += int(i.off)
			}
		case opAny:
			if reg[i.dst]&uint64(int64(i.imm)) != 0 {
				pc += int(i.off)
			}
		case opExit:
			return uint32(reg[regResult])
		default:
			t.Fatalf("instruction %+v", i)
		}
	}
	t.Fatal("a program that does not end")
	return 0
}

func checkProgram(t *testing.T, name string, rules []deviceRule) {
	t.Helper()
	p := deviceProgram(rules)
	numbers := []uint32{0, 1, 3, 5, 8, 10, 136, 229, maxMajor, maxMinor, 1<<32 - 1}
	for _, kind := range []int32{devBlock, devChar} {
		for access := int32(1); access <= accAll; access++ {
			for _, major := range numbers {
				for _, minor := range numbers {
					want := uint32(0)
					if denied(rules, kind, int64(major), int64(minor), access) == 0 {
						want = 1
					}
					if got := interpret(t, p, kind, access, major, minor); got != want {
						t.Fatalf("%s: kind %d %d:%d access %d gives %d, want %d", name, kind, major, minor, access, got, want)
					}
				}
			}
		}
	}
}

func TestDeviceProgram(t *testing.T) {
	for name, text := range ruleSets() {
		rules, err := parseRules(t, text)
		must(t, err)
		checkProgram(t, name, rules)
	}
}

func FuzzDeviceProgram(f *testing.F) {
	for _, text := range ruleSets() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var in []specs.LinuxDeviceCgroup
		if json.Unmarshal([]byte(text), &in) != nil || len(in) > 20 {
			return
		}
		if rules, err := deviceRules(in); err == nil {
			checkProgram(t, text, rules)
		}
	})
}

func TestDeviceRulesRefuse(t *testing.T) {
	for text, field := range map[string]string{
		`[{"allow":true,"type":"p","access":"r"}]`:                              "devices[0].type",
		`[` + denyAll + `,{"allow":true,"access":"rx"}]`:                        "devices[1].access",
		`[{"allow":true}]`:                                                      "devices[0].access",
		`[{"allow":true,"type":"c","major":4096,"access":"r"}]`:                 "devices[0]",
		`[{"allow":true,"type":"c","major":1,"minor":4294967299,"access":"r"}]`: "devices[0]",
	} {
		_, err := parseRules(t, text)
		var e *FieldError
		if !errors.As(err, &e) || e.Field != "linux.resources."+field || !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHeldByNamespace(t *testing.T) {
	kvm := specs.LinuxDevice{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}
	for name, tt := range map[string]struct {
		rules   string
		devices []specs.LinuxDevice
		word    string
	}{
		"the default":           {rules: `[` + denyAll + `]`},
		"default devices":       {rules: `[` + denyAll + `]`, devices: []specs.LinuxDevice{{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/fifo", Type: "p"}}},
		"allowed":               {rules: `[` + denyAll + `,{"allow":true,"type":"c","major":10,"minor":232,"access":"rwm"}]`, devices: []specs.LinuxDevice{kvm}},
		"allowed, not mknod":    {rules: `[` + denyAll + `,{"allow":true,"type":"c","major":10,"minor":232,"access":"rw"}]`, devices: []specs.LinuxDevice{kvm}},
		"given, not allowed":    {rules: `[` + denyAll + `]`, devices: []specs.LinuxDevice{kvm}, word: "/dev/kvm, and without real root nothing can keep it from reading and writing"},
		"given, to be read":     {rules: `[` + denyAll + `,{"allow":true,"type":"c","major":10,"minor":232,"access":"r"}]`, devices: []specs.LinuxDevice{kvm}, word: "from writing"},
		"denied, but not given": {rules: `[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":232,"access":"rw"}]`},
	} {
		rules, err := parseRules(t, tt.rules)
		must(t, err)
		err = heldByNamespace(rules, tt.devices)
		if (err == nil) != (tt.word == "") || err != nil && (!strings.Contains(err.Error(), tt.word) || !errors.Is(err, ErrUnsupported)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The kernel holds a container of real root to the rules: tried on the devices
// that every machine has.
func TestDevicesForReal(t *testing.T) {
	_, name := realTree(t)
	var r specs.LinuxResources
	try := func(c *Cgroup, script string) error {
		t.Helper()
		cmd := exec.Command("sh", "-c", script)
		cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: c.FD(), Pdeathsig: unix.SIGKILL}
		return cmd.Run()
	}
	must(t, json.Unmarshal([]byte(`{"devices":[`+denyAll+`,{"allow":false,"type":"c","major":1,"minor":3,"access":"w"},{"allow":false,"type":"c","major":1,"minor":5,"access":"rwm"}]}`), &r))
	c, err := New(Config{ID: "x", Path: name + "/c", Resources: &r})
	must(t, err)
	t.Cleanup(c.Close)
	steps := map[string]bool{ // whether it works
		"head -c 1 /dev/urandom":  true,
		"read x < /dev/null || :": true, ": > /dev/null": false, ": <> /dev/null": false,
		": < /dev/zero": false, ": > /dev/zero": false, ": < /dev/full": true,
	}
	for script, works := range steps {
		if err := try(c, script); (err == nil) != works {
			t.Errorf("%s: %v, want works %v", script, err, works)
		}
	}
	// Without the rules all of it works: it is they who deny.
	free := newReal(t, name+"/free")
	for script := range steps {
		if err := try(free, script); err != nil {
			t.Errorf("without rules: %s: %v", script, err)
		}
	}
	// An update replaces them, and does not add to them.
	must(t, json.Unmarshal([]byte(`{"devices":[`+denyAll+`]}`), &r))
	must(t, c.Apply(&r))
	for script := range steps {
		if err := try(c, script); err != nil {
			t.Errorf("after the update: %s: %v", script, err)
		}
	}
	if programs, err := attached(c.FD()); err != nil || len(programs) != 1 {
		t.Errorf("programs %v, %v; want one", programs, err)
	}
}
