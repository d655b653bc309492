package main

import (
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	full := &Report{
		Machine: []Fact{{"coracle", "1"}},
		Groups: []Group{
			{Name: "One", Unit: "ms", Note: "n", Goal: "g", Rows: []Row{{Program: "coracle", Median: 1}}},
			{Name: "Two", Unit: "MB", Note: "n", Goal: "g", Rows: []Row{{Program: "coracle", Median: 2}}},
		},
		Inits: []Init{{"os", 0.5, 7}},
	}
	page := render(full)
	part := &Report{
		Machine: []Fact{{"coracle", "2"}},
		Groups: []Group{
			{Name: "Two", Unit: "MB", Note: "n", Goal: "g", Rows: []Row{{Program: "coracle", Median: 22}}},
			{Name: "Three", Unit: "s", Note: "n", Goal: "g", Rows: []Row{{Program: "coracle", Median: 3}}},
		},
	}
	for range 2 { // the second changes nothing
		page = merge(page, part)
	}
	want := []string{"- coracle: 1\n", "## One\n", "| coracle | 1.00 |", "## Two\n", "| coracle | 22.00 |", "with coracle 2.", "## Package initialisation\n", "| os |", "## Three\n", "| coracle | 3.00 |", "with coracle 2."}
	rest := page
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("%q is missing, or not in its place, in\n%s", w, page)
		}
		rest = after
	}
	for _, s := range []string{"## One", "## Two", "## Three", "| coracle | 22.00 |"} {
		if n := strings.Count(page, s); n != 1 {
			t.Errorf("%q is there %d times in\n%s", s, n, page)
		}
	}
	if strings.Contains(page, "| coracle | 2.00 |") || strings.Contains(page, "\n\n\n") {
		t.Errorf("an old row, or empty lines:\n%s", page)
	}
}

func TestSelection(t *testing.T) {
	wanted, err := selection("pull,keep-id")
	if err != nil || !wanted("pull") || !wanted("keep-id") || wanted("start") {
		t.Errorf("pull,keep-id: %v", err)
	}
	if wanted, err := selection("network"); err != nil || !wanted("network-tcp") || !wanted("network-udp") || wanted("start") {
		t.Errorf("network: %v", err)
	}
	if wanted, err := selection("start"); err != nil || wanted("detached-start") || wanted("stats") {
		t.Errorf("start: %v", err)
	}
	if wanted, err := selection(""); err != nil || !wanted("start") || !wanted(initsName) {
		t.Errorf("all: %v", err)
	}
	if _, err := selection("pull,nonsense"); err == nil {
		t.Error("an unknown name passes")
	}
}
