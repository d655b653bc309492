package userns

import (
	"errors"
	"io"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

type mapping = specs.LinuxIDMapping

// annSources are those of an ordinary user on an ordinary host.
func annSources(t *testing.T) sources {
	ok := helperProgram{Path: "/usr/bin/newuidmap", Setuid: true}
	return sources{
		own:    mapOf(t, "0:0:4294967295"),
		sub:    subLookup{UIDs: []Range{{100000, 65536}}, GIDs: []Range{{200000, 65536}}},
		helper: helperFacts{UID: ok, GID: ok},
		distro: "ID=debian\n",
		others: []Range{{100000, 65536}, {165536, 65536}, {300000, 5}},
		need:   defaultAutoSize,
		pick: func(_ string, _ []Range, _ uint64) (uint64, io.Closer, error) {
			return 2048, nil, nil
		},
	}
}

var ann = Identity{UID: 1000, GID: 1001, Name: "ann", Local: true}

func TestDecide(t *testing.T) {
	const (
		defUIDs = "0:1000:1 1:100000:65536"
		defGIDs = "0:1001:1 1:200000:65536"
	)
	for _, c := range []struct {
		name       string
		req        Request
		change     func(*sources)
		id         Identity
		uids, gids string
		uid, gid   uint32
		keep       bool
		notice     string
		hint       string
		err        string
	}{
		{name: "default", uids: defUIDs, gids: defGIDs},
		{name: "host is the default", req: Request{Userns: "host"}, uids: defUIDs, gids: defGIDs},
		{
			name: "several ranges in their order", uids: "0:1000:1 1:500000:10 11:100000:65536", gids: defGIDs,
			change: func(s *sources) { s.sub.UIDs = []Range{{500000, 10}, {100000, 65536}} },
		},
		{
			name: "own id in a range", uids: "0:1000:1 1:900:100 101:1001:10", gids: defGIDs,
			change: func(s *sources) { s.sub.UIDs = []Range{{900, 111}} },
		},
		{
			name: "keep-id", req: Request{Userns: "keep-id"}, keep: true, uid: 1000, gid: 1001,
			uids: "0:100000:1000 1000:1000:1 1001:101000:64536", gids: "0:200000:1001 1001:1001:1 1002:201001:64535",
		},
		{
			name: "keep-id with ids", req: Request{Userns: "keep-id:uid=200,gid=210"}, keep: true, uid: 200, gid: 210,
			uids: "0:100000:200 200:1000:1 201:100200:65336", gids: "0:200000:210 210:1001:1 211:200210:65326",
		},
		{name: "keep-id as 0", req: Request{Userns: "keep-id:uid=0,gid=0"}, keep: true, uids: defUIDs, gids: defGIDs},
		{
			name: "keep-id above all", req: Request{Userns: "keep-id:uid=100000,gid=65536"}, keep: true, uid: 100000, gid: 65536,
			uids: "0:100000:65536 100000:1000:1", gids: "0:200000:65536 65536:1001:1",
		},
		{
			name: "keep-id with size", req: Request{Userns: "keep-id:uid=2,gid=2,size=5"}, keep: true, uid: 2, gid: 2,
			uids: "0:100000:2 2:1000:1 3:100002:2", gids: "0:200000:2 2:1001:1 3:200002:2",
		},
		{name: "keep-id too large", req: Request{Userns: "keep-id:size=70000"}, err: "there are 65537 user ids"},
		{
			name: "nomap", req: Request{Userns: "nomap"}, uid: OverflowID, gid: OverflowID,
			uids: "0:100000:65536", gids: "0:200000:65536",
		},
		{
			name: "auto", req: Request{Userns: "auto"}, uid: OverflowID, gid: OverflowID,
			uids: "0:102048:1024", gids: "0:202048:1024",
		},
		{
			name: "auto with size", req: Request{Userns: "auto:size=100"}, uid: OverflowID, gid: OverflowID,
			uids: "0:102048:100", gids: "0:202048:100",
		},
		{
			name: "auto for the image", req: Request{Userns: "auto"}, uid: OverflowID, gid: OverflowID,
			change: func(s *sources) { s.need = 60000 }, uids: "0:102048:60000", gids: "0:202048:60000",
		},
		{name: "auto too large", req: Request{Userns: "auto:size=70000"}, err: "needs 70000 user ids, and there are 65536"},
		{
			name: "explicit", req: Request{UIDMaps: []string{"5:0:1", "0:1:5"}}, uid: 5, gid: 5,
			uids: "0:100000:5 5:1000:1", gids: "0:200000:5 5:1001:1",
		},
		{
			name: "own name", req: Request{SubUIDName: "ann"}, uid: OverflowID, gid: OverflowID,
			change: func(s *sources) { s.named = s.sub }, uids: "0:100000:65536", gids: "0:200000:65536",
		},
		{
			name: "another's name", req: Request{SubUIDName: "bob"},
			change: func(s *sources) { s.named = subLookup{UIDs: []Range{{1, 2}}, GIDs: []Range{{1, 2}}} },
			err:    "ids 1-2 in /etc/subuid are not ann's, and only root can map them",
		},
		{
			name: "no subids", change: func(s *sources) { s.sub = subLookup{} }, uids: "0:1000:1", gids: "0:1001:1",
			notice: "only your own id is mapped: no subordinate ids for ann in /etc/subuid and /etc/subgid",
			hint:   "sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 ann",
		},
		{
			name: "no subgids", change: func(s *sources) { s.sub.GIDs, s.others = nil, nil }, uids: "0:1000:1", gids: "0:1001:1",
			notice: "no subordinate ids for ann in /etc/subgid", hint: "sudo usermod --add-subgids 100000-165535 ann",
		},
		{
			name: "no subids, from a directory", id: Identity{UID: 5000, GID: 5000, Name: "dir"},
			change: func(s *sources) { s.sub, s.others = subLookup{}, nil }, uids: "0:5000:1", gids: "0:5000:1",
			notice: "for dir in", hint: "echo dir:100000:65536 | sudo tee -a /etc/subuid /etc/subgid",
		},
		{
			name: "nameless", id: Identity{UID: 5000, GID: 5000},
			change: func(s *sources) { s.sub, s.others = subLookup{}, nil }, uids: "0:5000:1", gids: "0:5000:1",
			notice: "for 5000 in", hint: "echo 5000:100000:65536",
		},
		{
			name: "a bad line only", uids: "0:1000:1", gids: "0:1001:1",
			change: func(s *sources) { s.sub = subLookup{Bad: []BadLine{{"/etc/subuid", 3, "bad"}}} },
			notice: "/etc/subuid:3: bad", hint: "correct that line",
		},
		{
			name: "no helpers", change: func(s *sources) { s.helper = helperFacts{} }, uids: "0:1000:1", gids: "0:1001:1",
			notice: "only your own id is mapped: newuidmap and newgidmap are not installed", hint: "sudo apt-get install uidmap",
		},
		{
			name: "keep-id without subids", req: Request{Userns: "keep-id"}, keep: true, uid: 1000, gid: 1001,
			change: func(s *sources) { s.sub = subLookup{} }, uids: "1000:1000:1", gids: "1001:1001:1", notice: "no subordinate ids",
		},
		{name: "nomap without subids", req: Request{Userns: "nomap"}, change: func(s *sources) { s.sub = subLookup{} }, err: "no subordinate ids for ann", hint: "sudo usermod"},
		{name: "auto without subids", req: Request{Userns: "auto"}, change: func(s *sources) { s.sub = subLookup{} }, err: "needs 1024 user ids, and there are 0", hint: "sudo usermod"},
		{name: "explicit without helpers", req: Request{UIDMaps: []string{"0:0:2"}}, change: func(s *sources) { s.helper = helperFacts{} }, err: "not installed", hint: "uidmap"},
		{
			name: "explicit single without helpers", req: Request{UIDMaps: []string{"7:0"}}, change: func(s *sources) { s.helper = helperFacts{} },
			uids: "7:1000:1", gids: "7:1001:1", uid: 7, gid: 7, notice: "not installed",
		},
		{
			name: "after newgrp", id: Identity{UID: 1000, GID: 33, LoginGID: 1001, Name: "ann"}, uids: defUIDs, gids: defGIDs,
		},
		{
			name: "inside a container", uids: "0:1000:1 1:1:999 1000:1001:64536", gids: "0:1001:1 1:1:1000 1001:1002:64535",
			change: func(s *sources) {
				s.own = mapOf(t, "0:1000:1 1:100000:65536")
				s.sub = subLookup{UIDs: []Range{{1, 65536}}, GIDs: []Range{{1, 65536}}}
			},
		},
		{
			name: "ranges outside our namespace", uids: "0:1000:1", gids: "0:1001:1",
			change: func(s *sources) { s.own = mapOf(t, "0:1000:1 1:100000:65536") },
			notice: "ids 100000-165535 of /etc/subuid do not exist in this user namespace, which has 0-65536",
			hint:   "start the outer container with more ids",
		},
		{
			name: "ranges cut by our namespace", uids: "0:1000:1 1:100000:5", gids: "0:1001:1 1:200000:65536",
			change: func(s *sources) { s.own = mapOf(t, "0:0:100005 200000:200000:65536") },
		},
		{
			name: "real root", id: Identity{SetID: true}, change: func(s *sources) { s.root = true },
			uids: "0:0:4294967295", gids: "0:0:4294967295",
		},
		{
			name: "root of a container", id: Identity{SetID: true}, uids: "0:0:1 1:1:65536", gids: "0:0:1 1:1:65536",
			change: func(s *sources) { s.root, s.own = true, mapOf(t, "0:1000:1 1:100000:65536") },
		},
		{
			name: "root of one id", id: Identity{SetID: true}, uids: "0:0:1", gids: "0:0:1", notice: "only one id",
			change: func(s *sources) { s.root, s.own = true, mapOf(t, "0:1000:1") },
		},
		{name: "nobody's name", req: Request{SubUIDName: "no-such-name"}, err: `no subordinate ids for "no-such-name" in /etc/subuid`},
		{
			name: "root keeps an id", id: Identity{SetID: true}, req: Request{Userns: "keep-id:uid=7,gid=7"}, keep: true, uid: 7, gid: 7,
			change: func(s *sources) { s.root, s.own = true, mapOf(t, "0:1000:1 1:100000:65536") },
			uids:   "0:1:7 7:0:1 8:8:65529", gids: "0:1:7 7:0:1 8:8:65529",
		},
		{name: "root without map", id: Identity{SetID: true}, req: Request{Userns: "nomap"}, change: func(s *sources) { s.root = true }, err: "other than root"},
		{name: "root and auto", id: Identity{SetID: true}, req: Request{Userns: "auto"}, change: func(s *sources) { s.root = true }, err: "there are 0", hint: "echo containers:"},
		{
			name: "root and auto of containers", id: Identity{SetID: true}, req: Request{Userns: "auto"}, uid: OverflowID, gid: OverflowID,
			change: func(s *sources) { s.root, s.named = true, s.sub }, uids: "0:102048:1024", gids: "0:202048:1024",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := annSources(t)
			if c.change != nil {
				c.change(&src)
			}
			if c.id.UID == 0 && !c.id.SetID {
				c.id = ann
			}
			want, err := parseRequest(c.req)
			if err != nil {
				t.Fatal(err)
			}
			r, err := decide(c.id, want, src)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(hintOf(err), c.hint) {
					t.Fatalf("got %v (hint %q), want %q (%q)", err, hintOf(err), c.err, c.hint)
				}
				if !errors.Is(err, ErrTooFewIDs) && !errors.Is(err, ErrBadMap) {
					t.Errorf("%v unwraps to nothing known", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if short(r.Map.UIDs) != c.uids || short(r.Map.GIDs) != c.gids {
				t.Errorf("map %s / %s\nwant %s / %s", short(r.Map.UIDs), short(r.Map.GIDs), c.uids, c.gids)
			}
			if r.UID != c.uid || r.GID != c.gid || r.KeepID != c.keep || r.Single != (len(r.Map.UIDs) == 1 && r.Map.UIDs[0].Size == 1) {
				t.Errorf("caller is %d:%d, keep %v, single %v", r.UID, r.GID, r.KeepID, r.Single)
			}
			if !strings.Contains(r.Notice, c.notice) || !strings.Contains(r.Hint, c.hint) || (c.notice == "") != (r.Notice == "") || strings.Contains(r.Notice, "\n") {
				t.Errorf("notice %q hint %q\nwant %q %q", r.Notice, r.Hint, c.notice, c.hint)
			}
			if !strings.Contains(c.name, "root") { // root's named ranges are their own base
				for _, e := range r.Map.UIDs {
					if _, ok := r.BaseUID(e.ContainerID); !ok {
						t.Errorf("container user %d has no id in the base map", e.ContainerID)
					}
				}
			}
		})
	}
}

func TestResolveFiles(t *testing.T) {
	files := map[string]string{
		"proc/self/uid_map":  "0 0 4294967295\n",
		"proc/self/gid_map":  "0 0 4294967295\n",
		"etc/subuid":         "ann:100000:65536\nann:150000:30000\n",
		"etc/subgid":         "1000:100000:65536\n",
		"etc/os-release":     "ID=fedora\n",
		"usr/bin/newuidmap*": "", "usr/bin/newgidmap*": "",
	}
	s := fakeRoot(t, files)
	r, err := s.resolve(t.Context(), ann, Request{})
	if err != nil {
		t.Fatal(err)
	}
	// The fake helpers have no privilege, which is seen before a start fails.
	if !r.Single || !strings.Contains(r.Notice, "neither setuid root nor has cap_setuid") || !strings.Contains(r.Hint, "setcap cap_setuid+ep") {
		t.Errorf("%+v", r)
	}
	src, err := s.sources(t.Context(), ann, wanted{}, Request{})
	if err != nil || rangesText(src.sub.UIDs) != "100000-165535, 165536-179999" {
		t.Errorf("%v, %v", src.sub.UIDs, err)
	}
	delete(files, "proc/self/uid_map")
	if _, err := fakeRoot(t, files).resolve(t.Context(), ann, Request{}); err == nil {
		t.Error("no /proc, and no error")
	}
}
