package engine

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What a process calls itself does not move the fields behind its name.
func TestParseStat(t *testing.T) {
	const rest = " S 7 8 9 34818 -1 4194304 1 2 3 4 150 50 1 2 20 -5 1 0 4242 2097152 512 1 2 3"
	for _, comm := range []string{"sleep", "a b", "x) R 1 1 1 (", "new\nline", ""} {
		p := &processFacts{hpid: 5}
		if err := p.parseStat("5 (" + comm + ")" + rest); err != nil {
			t.Fatal(err)
		}
		want := &processFacts{hpid: 5, comm: comm, state: "S", hppid: 7, tty: 34818, ticks: 200, nice: -5, started: 4242,
			vsize: 2048, rss: 512 * uint64(os.Getpagesize()) / 1024}
		if !reflect.DeepEqual(p, want) {
			t.Errorf("%q: %+v, want %+v", comm, p, want)
		}
	}
	for _, bad := range []string{"", "5 sleep S", "5 (sleep) S 1", ")("} {
		if err := (&processFacts{}).parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	p := &processFacts{}
	p.parseStatus("Name:\tx\\nUid:\t0\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \nNSpid:\t900\t12\t1\nNSpgid:\t900\t12\nCapEff:\t0000000000000003\nSeccomp:\t2\n")
	if p.uids[1] != 1001 || p.gids[0] != 5 || len(p.groups) != 2 || p.pids[1] != 12 || p.pgids[1] != 12 || p.caps["CapEff"] != 3 || p.seccomp != "filter" {
		t.Errorf("%+v", p)
	}
}

func TestTopWords(t *testing.T) {
	for _, tt := range []struct{ words, want string }{
		{"", "USER PID PPID %CPU ELAPSED TTY TIME COMMAND"},
		{"pid", "PID"},
		{"pid,%C comm", "PID %CPU COMMAND"},
		{"aux", ""},
		{"-ef", ""},
		{"pid nonsense", ""},
	} {
		columns, ok := topColumnsOf(strings.Fields(tt.words))
		var titles []string
		for _, c := range columns {
			titles = append(titles, c.title)
		}
		if got := strings.Join(titles, " "); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: %q, %v", tt.words, got, ok)
		}
	}
	for set, want := range map[uint64]string{0: "none", 1<<41 - 1: "full", 0x21: "CHOWN,KILL"} {
		if got := capabilityWords(set); got != want {
			t.Errorf("%x: %s, want %s", set, got, want)
		}
	}
	for dev, want := range map[int]string{0: "?", 34816: "pts/0", 34818: "pts/2", 137<<8 | 1: "pts/257", 4<<8 | 1: "tty1", 5 << 8: "5:0"} {
		if got := ttyName(dev); got != want {
			t.Errorf("%d: %s, want %s", dev, got, want)
		}
	}
}

func TestTopTimes(t *testing.T) {
	v := &topView{uptime: 100 * time.Second, level: 1, inside: map[int]int{7: 3}}
	p := &processFacts{hpid: 9, hppid: 7, started: 9000, ticks: 250, pids: []int{9, 4}}
	if v.elapsed(p) != 10*time.Second || v.pcpu(p) != "25.000" || v.ppid(p) != "3" {
		t.Errorf("%s %s %s", v.elapsed(p), v.pcpu(p), v.ppid(p))
	}
	p.hppid, p.started = 1, 11000 // a parent outside; a clock that is behind
	if v.ppid(p) != "0" || v.elapsed(p) != 0 {
		t.Errorf("%s %s", v.ppid(p), v.elapsed(p))
	}
}

func TestPSRows(t *testing.T) {
	rows, err := psRows("USER PID COMMAND\nme 5 sleep 10  20\nme 6 other\nroot 7 [x]\n", []int{5, 7})
	want := [][]string{{"USER", "PID", "COMMAND"}, {"me", "5", "sleep 10 20"}, {"root", "7", "[x]"}}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Errorf("%v, %v", rows, err)
	}
	for _, bad := range []string{"USER COMMAND\nme sleep\n", "PID\nx\n"} {
		if _, err := psRows(bad, []int{5}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
