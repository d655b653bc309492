package userns

import (
	"os"
	"os/user"
	"strconv"
	"testing"
)

func TestCallerLookup(t *testing.T) {
	const getent = `#!/bin/sh
[ "$1" = passwd ] && [ "$2" = 5000 ] || exit 2
echo 'dir:*:5000:7000:Directory User:/nfs/dir:/bin/zsh'
`
	s := fakeRoot(t, map[string]string{
		"etc/passwd":      "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1000:,,,:/home/ann:/bin/bash\nann2:x:1000:1001::/h:/s\n",
		"usr/bin/getent*": getent,
	})
	t.Setenv("HOME", "/somewhere")
	for _, c := range []struct {
		name     string
		uid, gid uint32
		want     Identity
	}{
		{"file", 1000, 1000, Identity{Name: "ann", Home: "/home/ann", Shell: "/bin/bash", Local: true}},
		{"after newgrp", 1000, 33, Identity{Name: "ann", Home: "/home/ann", Shell: "/bin/bash", Local: true, LoginGID: 1000}},
		{"directory", 5000, 7000, Identity{Name: "dir", Home: "/nfs/dir", Shell: "/bin/zsh"}},
		{"nobody knows", 4242, 4242, Identity{Home: "/somewhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.UID, c.want.GID = c.uid, c.gid
			got, err := s.lookup(t.Context(), Identity{UID: c.uid, GID: c.gid})
			if err != nil || got.Name != c.want.Name || got.Home != c.want.Home || got.Shell != c.want.Shell ||
				got.Local != c.want.Local || got.LoginGID != c.want.LoginGID {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
	if got, err := fakeRoot(t, nil).lookup(t.Context(), Identity{UID: 7}); err != nil || got.Name != "" || got.Display() != "7" {
		t.Errorf("no files and no getent: %+v, %v", got, err)
	}
}

func TestCallerReal(t *testing.T) {
	id, err := Caller(t.Context())
	if err != nil || int(id.UID) != os.Getuid() || int(id.GID) != os.Getgid() {
		t.Fatalf("%+v, %v", id, err)
	}
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err == nil && (u.Username != id.Name || u.HomeDir != id.Home) {
		t.Errorf("got %+v, os/user says %+v", id, u)
	}
}
