package cli

import (
	"strings"
	"testing"
	"time"

	"coracle/internal/denial"
	"coracle/internal/sandbox"
)

// TestLearnedProfile: whatever a command names, what is written is a profile, and what
// is left out stays a comment.
func TestLearnedProfile(t *testing.T) {
	nasty := "/srv/\"]\nrw = [\"/\"]\x1b#\\"
	l := sandbox.Lesson{Plan: &sandbox.Plan{Home: "/home/u", Homes: []string{"/home/u"}, Cwd: "/home/u"},
		Given: []sandbox.Setting{{Key: "ro", Value: nasty, List: true}, {Key: "pids", Value: "9"}, {Key: "timeout", Value: "1m0s"}, {Key: "best-effort", Value: "true"}},
		Denials: []denial.Denial{
			{Kind: denial.Path, What: "/home/u/.ssh/id" + nasty, Wall: denial.Credentials, Flag: "--ro x", Danger: "keys" + nasty},
			{Kind: denial.Path, What: nasty, Wall: denial.Hidden, Flag: "--ro x", Action: denial.Read},
			{Kind: denial.Syscall, What: "unshare" + nasty, Count: 2},
		}}
	text := learnedProfile(l, []string{"sh", "-c", nasty}, 3, time.Second)
	p, _, err := parseProfile("learned", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := map[string]string{}
	for _, s := range p.settings {
		got[s.flag] = strings.Join(s.values, "|")
	}
	for flag, want := range map[string]string{"ro": nasty, "ro-try": nasty, "pids": "9", "timeout": "1m0s", "best-effort": "true", "network": "none", "rw": ""} {
		if got[flag] != want {
			t.Errorf("%s is %q, want %q", flag, got[flag], want)
		}
	}
	for _, want := range []string{"# ro = [\"~/.ssh/id", "ended with code 3", "unshare", "take one in only if you know"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("an escape code goes to the terminal")
	}
}
