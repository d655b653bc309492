package userns

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRequestRefuses(t *testing.T) {
	for _, c := range []struct {
		req  Request
		want string
	}{
		{Request{Userns: "bogus"}, `--userns "bogus"`},
		{Request{Userns: "private"}, "needs --uidmap"},
		{Request{Userns: "nomap:size=4"}, "takes no options"},
		{Request{Userns: "host:x"}, "takes no options"},
		{Request{Userns: "keep-id:uid=x"}, `"x" is not an id`},
		{Request{Userns: "keep-id:uid=-1"}, "is not an id"},
		{Request{Userns: "keep-id:uid=4294967295"}, "is not an id"},
		{Request{Userns: "keep-id:colour=4"}, "unknown option"},
		{Request{Userns: "auto:uid=4"}, "unknown option"},
		{Request{Userns: "auto:size=0"}, "unknown option"},
		{Request{Userns: "keep-id", UIDMaps: []string{"0:0"}}, "exclude each other"},
		{Request{Userns: "keep-id", SubUIDName: "x"}, "exclude each other"},
		{Request{SubUIDName: "x", GIDMaps: []string{"0:0"}}, "exclude each other"},
		{Request{UIDMaps: []string{"0"}}, "--uidmap \"0\""},
		{Request{GIDMaps: []string{"0:1:2:3"}}, "--gidmap"},
		{Request{UIDMaps: []string{"0:1:0"}}, "empty"},
		{Request{UIDMaps: []string{"0:-1"}}, "is not an id"},
		{Request{UIDMaps: []string{"4294967290:0:10"}}, "past the last id"},
		{Request{UIDMaps: []string{"x0:0:10"}}, "is not an id"},
	} {
		_, err := parseRequest(c.req)
		if err == nil || !errors.Is(err, ErrBadMap) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.req, err, c.want)
		}
	}
}

func TestExplicitMaps(t *testing.T) {
	base := Map{extents(t, "0:1000:1 1:100000:65536"), extents(t, "0:100:1 1:200000:100 101:300000:1000")}
	for _, c := range []struct {
		name       string
		uid, gid   []string
		uids, gids string
		err        string
	}{
		{"as podman's default", []string{"0:0:1", "1:1:5000"}, []string{"0:0:1", "1:1:100"}, "0:1000:1 1:100000:5000", "0:100:1 1:200000:100", ""},
		{"without size", []string{"0:5"}, []string{"7:0"}, "0:100004:1", "7:100:1", ""},
		{"across ranges", []string{"0:0:2"}, []string{"0:99:4"}, "0:1000:1 1:100000:1", "0:200098:2 2:300000:2", ""},
		{"one stands for both", []string{"0:1:10"}, nil, "0:100000:10", "0:200000:10", ""},
		{"only for users", []string{"u0:1:10"}, nil, "0:100000:10", "0:100:1 1:200000:100 101:300000:1000", ""},
		{"absolute", []string{"0:@100010:5", "5:@1000"}, []string{"0:0"}, "0:100010:5 5:1000:1", "0:100:1", ""},
		{"absolute across ranges", []string{"0:0"}, []string{"0:@200090:10", "10:@300000:2"}, "0:1000:1", "0:200090:10 10:300000:2", ""},
		{"extend", []string{"+1000:@1000"}, []string{"+5:0"}, "1:100000:999 1000:1000:1 1001:101000:64536", "1:200000:4 5:100:1 6:200005:95 101:300000:1000", ""},
		{"order does not matter", []string{"10:1:2", "0:3:1"}, []string{"0:0"}, "0:100002:1 10:100000:2", "0:100:1", ""},
		{"not enough", []string{"0:0:70000"}, nil, "", "", "user id 65537 of the default map is asked for, which has only 0-65536"},
		{"somebody else's", []string{"0:@5000"}, nil, "", "", "user id 5000 of the host is not yours to map; yours are 1000, 100000-165535"},
		{"twice inside", []string{"0:0", "0:1"}, nil, "", "", "overlap inside"},
		{"twice outside", []string{"0:1:5", "5:5"}, nil, "", "", "overlap on the host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := parseRequest(Request{UIDMaps: c.uid, GIDMaps: c.gid})
			if err != nil {
				t.Fatal(err)
			}
			m, err := explicit(want, base)
			if err == nil {
				err = m.Validate()
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || short(m.UIDs) != c.uids || short(m.GIDs) != c.gids {
				t.Errorf("got %s / %s, %v\nwant %s / %s", short(m.UIDs), short(m.GIDs), err, c.uids, c.gids)
			}
		})
	}
}

func FuzzMapFlags(f *testing.F) {
	f.Add("", "0:0:1", "+u5:@100000:10")
	f.Add("keep-id:uid=200,gid=3,size=9", "", "")
	f.Add("auto:size=70000", "", "")
	f.Add("nomap", "+g4294967294:0", "0:65536:2")
	base := Map{[]mapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
		[]mapping{{ContainerID: 0, HostID: 100, Size: 1}, {ContainerID: 1, HostID: 200000, Size: 100}, {ContainerID: 101, HostID: 300000, Size: 1000}}}
	f.Fuzz(func(t *testing.T, mode, uidmap, gidmap string) {
		req := Request{Userns: mode}
		if uidmap != "" {
			req.UIDMaps = strings.Split(uidmap, " ")
		}
		if gidmap != "" {
			req.GIDMaps = strings.Split(gidmap, " ")
		}
		want, err := parseRequest(req)
		if err != nil {
			if !errors.Is(err, ErrBadMap) {
				t.Fatalf("%v is no ErrBadMap", err)
			}
			return
		}
		var m Map
		switch want.kind {
		case mapExplicit:
			m, err = explicit(want, base)
		case mapKeepID:
			m, err = keepID(Identity{UID: 1000, GID: 100}, want, base)
		default:
			return
		}
		if err != nil {
			return
		}
		if m.Validate() != nil {
			return // refused before it reaches the kernel
		}
		// Nothing but the caller's ids may ever be mapped.
		for _, e := range m.UIDs {
			if _, ok := base.ContainerUID(e.HostID); !ok || !inside(e, base.UIDs) {
				t.Fatalf("%v of %v is not the caller's", e, req)
			}
		}
		for _, e := range m.GIDs {
			if !inside(e, base.GIDs) {
				t.Fatalf("group range %v of %v is not the caller's", e, req)
			}
		}
	})
}

// inside says whether the host side of e lies in one range of base.
func inside(e mapping, base []mapping) bool {
	for _, b := range base {
		if e.HostID >= b.HostID && uint64(e.HostID)+uint64(e.Size) <= uint64(b.HostID)+uint64(b.Size) {
			return true
		}
	}
	return false
}
