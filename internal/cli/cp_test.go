package cli

import (
	"errors"
	"strings"
	"testing"

	"coracle/internal/engine"
)

func TestCopy(t *testing.T) {
	for line, want := range map[string]engine.CopyOptions{
		"cp a c:/b":                       {From: "a", To: "c:/b", Archive: true},
		"cp -L --overwrite c:/b -":        {From: "c:/b", To: "-", Archive: true, Follow: true, Overwrite: true},
		"cp --archive=false -q - c:/b":    {From: "-", To: "c:/b"},
		"container cp -a --archive a c:b": {From: "a", To: "c:b", Archive: true},
	} {
		f := &fakeEngine{}
		got := invoke(t, f, strings.Fields(line)...)
		f.copied.Stdin, f.copied.Stdout = nil, nil
		if got.code != 0 || got.out+got.err != "" || f.copied != want {
			t.Errorf("%s: %+v, %+v", line, got, f.copied)
		}
	}
	for line, want := range map[string]string{"cp a": "DST", "cp a b c": "c", "cp a c:/b": "copy a to c:/b: broken"} {
		if got := invoke(t, &fakeEngine{err: errors.New("broken")}, strings.Fields(line)...); got.code != exitOurs || !strings.Contains(got.err, want) {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
}

func TestDiffExport(t *testing.T) {
	f := &fakeEngine{}
	for line, want := range map[string]string{
		"diff c":               "C /etc\nA /etc/a\\x1b\nD /gone\n",
		"diff --format json c": "{\n    \"changed\": [\n        \"/etc\"\n    ],\n    \"added\": [\n        \"/etc/a\\u001b\"\n    ],\n    \"deleted\": [\n        \"/gone\"\n    ]\n}\n",
		"export -o x.tar c":    "",
	} {
		if got := invoke(t, f, strings.Fields(line)...); got.code != 0 || got.out != want {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
	if got := invoke(t, f, "diff", "--format", "xml", "c"); got.code != exitOurs || !strings.Contains(got.err, "only json") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(strings.Join(f.asked, ","), "export c x.tar") {
		t.Errorf("%q", f.asked)
	}
}
