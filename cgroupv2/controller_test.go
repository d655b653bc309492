package cgroupv2

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// realController gives a tree that has a controller, and a cgroup in it as
// realTree does. hugetlb is in the v2 tree on most hybrid machines, too.
func realController(t *testing.T) (Tree, string) {
	t.Helper()
	tree, name := realTree(t)
	need(t, slices.Contains(tree.Controllers, "hugetlb"), "the hugetlb controller in the v2 tree")
	if !slices.Contains(strings.Fields(readIn(tree.Mount, subtreeControl)), "hugetlb") {
		t.Cleanup(func() { _ = os.WriteFile(tree.Mount+"/"+subtreeControl, []byte("-hugetlb"), 0) })
	}
	return tree, name
}

const hugePages = `{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}`

func TestRealLimit(t *testing.T) {
	tree, name := realController(t)
	c, err := New(Config{ID: "x", Path: name + "/pod/c", Resources: parseResources(t, hugePages)})
	must(t, err)
	defer c.Close()
	for _, file := range []string{"hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"} {
		if got := readIn(c.Path(), file); got != "4194304" {
			t.Errorf("%s is %q", file, got)
		}
	}
	start(t, c, "sleep", "1000") // a leaf with a controller takes processes
	s, err := c.Stats()
	must(t, err)
	if _, ok := s.Hugetlb["2MB"]; !ok {
		t.Errorf("statistics %v", s.Hugetlb)
	}
	must(t, c.Apply(parseResources(t, `{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}`)))
	// The second file is refused: the first has its old value then.
	err = c.Apply(parseResources(t, `{"hugepageLimits":[{"pageSize":"2MB","limit":6291456}],"unified":{"cgroup.max.depth":"-7"}}`))
	if !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), "cgroup.max.depth") {
		t.Errorf("%v", err)
	}
	if got := readIn(c.Path(), "hugetlb.2MB.max"); got != "2097152" {
		t.Errorf("after a refused update: %q", got)
	}
	if got := readIn(tree.Mount+name+"/pod", subtreeControl); got != "hugetlb" {
		t.Errorf("enabled in the parent: %q", got)
	}
	// The container's own cgroup is a leaf with processes now, and can give
	// nothing to children.
	_, err = New(Config{ID: "x", Path: name + "/pod/c/below", Resources: parseResources(t, hugePages)})
	var field *FieldError
	if !errors.As(err, &field) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "processes run in it") || field.Hint() == "" {
		t.Errorf("below a cgroup with processes: %v", err)
	}
	if _, err := os.Stat(c.Path() + "/below"); err == nil {
		t.Error("the refused cgroup is there")
	}
}

func TestRealLimitAllOrNothing(t *testing.T) {
	tree, name := realController(t)
	_, err := New(Config{ID: "x", Path: name + "/pod/c", Resources: parseResources(t, `{"hugepageLimits":[{"pageSize":"2MB","limit":0}],"unified":{"hugetlb.2MB.max":"0","cgroup.max.depth":"-7"}}`)})
	if !errors.Is(err, ErrBadRequest) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(tree.Mount + name + "/pod"); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if got := readIn(tree.Mount+name, subtreeControl); got != "" {
		t.Errorf("still enabled: %q", got)
	}
}

// An update can need a controller that nothing before it needed.
func TestRealUpdateEnables(t *testing.T) {
	tree, name := realController(t)
	c := newReal(t, name+"/pod/c")
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, c.AddProcess(cmd.Process.Pid))
	again, err := Open(c.Ref())
	must(t, err)
	defer again.Close()
	must(t, again.Apply(parseResources(t, hugePages)))
	if got := readIn(c.Path(), "hugetlb.2MB.max"); got != "4194304" {
		t.Errorf("hugetlb.2MB.max is %q", got)
	}
	if got := readIn(tree.Mount+name+"/pod", subtreeControl); got != "hugetlb" {
		t.Errorf("enabled in the parent: %q", got)
	}
}
