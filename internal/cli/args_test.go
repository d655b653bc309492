package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// toyTable has -b/--bool, -c/--cool, -v/--value.
func toyTable() flagTable {
	return flagTable{
		long: func(name string) flagKind {
			switch name {
			case "bool", "cool":
				return flagBool
			case "value":
				return flagValue
			}
			return flagUnknown
		},
		short: func(letter string) (string, flagKind) {
			switch letter {
			case "b":
				return "bool", flagBool
			case "c":
				return "cool", flagBool
			case "v":
				return "value", flagValue
			}
			return "", flagUnknown
		},
		refuse: func(flag string, _ bool) error { return errors.New("unknown " + flag) },
	}
}

func TestSplitArgs(t *testing.T) {
	for _, c := range []struct {
		line        string
		flags, args string
		trailing    bool
	}{
		{"a -b c --value x d", "--bool=true --value=x", "a c d", false},
		{"a -b c --value x d", "", "a -b c --value x d", true},
		{"-bc a -b", "--bool=true --cool=true", "a -b", true},
		{"-bvx=y a", "--bool=true --value=x=y", "a", true},
		{"-v -- a", "--value=--", "a", true},
		{"--value=--bool -- -b -- c", "--value=--bool", "-b -- c", false},
		{"- -b", "--bool=true", "-", false},
		{"-b=false --cool=0", "--bool=false --cool=false", "", false},
	} {
		got, err := splitArgs(toyTable(), strings.Fields(c.line), c.trailing)
		if err != nil || strings.Join(got.flags, " ") != c.flags || strings.Join(got.args, " ") != c.args {
			t.Errorf("%q: %q %q %v", c.line, got.flags, got.args, err)
		}
	}
	for _, line := range []string{"-x", "--x", "-bx", "--value", "-v", "-bv", "--bool=x", "-b=", "--", "---", "--=", "-="} {
		_, err := splitArgs(toyTable(), strings.Fields(line), false)
		if (err == nil) != (line == "--") {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"--help", "-h", "-bh", "-b a --help --nonsense"} {
		if got, err := splitArgs(toyTable(), strings.Fields(line), false); err != nil || !got.help {
			t.Errorf("%q: %+v %v", line, got, err)
		}
	}
}

// FuzzSplitArgs: whatever the words are, each argument comes out as it went
// in and in order, flags are --name=value of known names, and what the
// splitter accepts kong accepts as the same words.
func FuzzSplitArgs(f *testing.F) {
	for _, s := range []string{"-it\x00debian\x00bash", "--env=A=b\x00--\x00host\x00--\x00x", "-eA\x00-e\x00--rm\x00x", "-\xff", "--", "-t=\x00a", "--log-format\x00json\x00x", "--env=\xff\x00\xa5"} {
		f.Add(s)
	}
	e, err := findCommand("run")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		cmd := &runCmd{}
		p := newParser(e, cmd, &globals{})
		s, err := splitArgs(p.table(), args, true)
		if err != nil || s.help {
			return
		}
		if n := len(args) - len(s.args); n < 0 || !slices.Equal(args[n:], s.args) {
			t.Fatalf("%q: the arguments %q are not its end", args, s.args)
		}
		for _, flag := range s.flags {
			name, _, ok := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			if !ok || p.longKind(name) == flagUnknown {
				t.Fatalf("%q gives the flag %q", args, flag)
			}
		}
		if _, err := p.parse(args); err != nil {
			return // a number that is none, a missing image
		}
		if got := append([]string{cmd.Image}, cmd.Args...); !slices.Equal(got, s.args) {
			t.Fatalf("%q: kong read %q, not %q", args, got, s.args)
		}
	})
}

func FuzzVisible(f *testing.F) {
	f.Add(evil)
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range visible(s) {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
				t.Fatalf("visible(%q) has %U", s, r)
			}
		}
	})
}

// BenchmarkRunGrammar is what a start pays for the command line.
func BenchmarkRunGrammar(b *testing.B) {
	for b.Loop() {
		if _, err := parseRunLine([]string{"--rm", "-it", "-e", "A=b", "-v", "/a:/b", "debian", "true"}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestManyArguments would take minutes with all of them given to kong.
func TestManyArguments(t *testing.T) {
	many := make([]string, 200_000)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	opts, err := parseRunLine(append([]string{"--rm", "debian", "true"}, many...))
	if err != nil || len(opts.Args) != len(many)+1 || opts.Args[0] != "true" || !slices.Equal(opts.Args[1:], many) {
		t.Errorf("%d arguments, %v", len(opts.Args), err)
	}
	f := &fakeEngine{}
	if got := invoke(t, f, append([]string{"rmi"}, many[:3000]...)...); got.code != 0 || len(f.asked) != 3000 || f.asked[2999] != "rmi 2999" {
		t.Errorf("%d asked", len(f.asked))
	}
}
