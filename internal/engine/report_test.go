package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckReport(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/program", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"", "-", "report_test.json", dir + "/new", dir + "/file"} {
		if err := checkReport(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for path, want := range map[string]error{
		dir + "/missing/r.json": unix.ENOENT, dir + "/program/r.json": unix.ENOTDIR, dir: unix.EISDIR,
	} {
		err := checkReport(path)
		var ee *Error
		if !errors.Is(err, want) || !errors.As(err, &ee) || ee.Help == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("checking has made something: %v", left)
	}
}

// A failed start has its report, with the reason and the code.
func TestReportOfAFailedStart(t *testing.T) {
	e := testEngine(t)
	file := filepath.Join(t.TempDir(), "r.json")
	r := &run{e: e, o: RunOptions{Image: "img", Report: file, Remove: true}, root: &rootSource{}, box: testBox(t, e, "boat", true)}
	if err := r.finish(context.Background(), Exit{Code: 127}, errors.New("no such command")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(data, &rep); err != nil || rep.ExitCode != 127 || rep.Error != "no such command" || rep.Name != "boat" || rep.Wall < 0 {
		t.Errorf("%s: %v", data, err)
	}
	assertNothing(t, e)
}
