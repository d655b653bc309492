package cgroupv2

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const v1Lines = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
`

func TestParseTree(t *testing.T) {
	for name, tt := range map[string]struct {
		mountinfo, own string
		hidden         string
		want           Tree
		parents        string
	}{
		"unified, login session": {
			mountinfo: "26 22 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
			own:       "0::/user.slice/user-1000.slice/session-3.scope\n",
			want:      Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/", Own: "/user.slice/user-1000.slice/session-3.scope", OwnDir: "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"},
			parents:   "/sys/fs/cgroup/user.slice/user-1000.slice /sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope /sys/fs/cgroup/user.slice /sys/fs/cgroup",
		},
		"hybrid": {
			mountinfo: v1Lines + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
			own:       "9:name=systemd:/\n4:memory:/x\n1:cpu,cpuacct:/\n0::/\n",
			want:      Tree{Layout: Hybrid, Mount: "/sys/fs/cgroup/unified", Root: "/", Own: "/", OwnDir: "/sys/fs/cgroup/unified", V1: []string{"cpu", "cpuacct", "memory"}},
			parents:   "/sys/fs/cgroup/unified",
		},
		"version 2 over a hybrid": {
			mountinfo: v1Lines + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n50 23 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n",
			own:       "4:memory:/\n0::/a\n",
			want:      Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/", Own: "/a", OwnDir: "/sys/fs/cgroup/a", V1: []string{"memory"}},
			parents:   "/sys/fs/cgroup /sys/fs/cgroup/a",
		},
		"version 1": {
			mountinfo: v1Lines, own: "4:memory:/\n",
			want: Tree{Layout: Legacy, V1: []string{"memory"}},
		},
		"none": {want: Tree{Layout: Absent}},
		"a tree that is covered": {
			mountinfo: "26 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", hidden: "/sys/fs/cgroup", own: "0::/\n",
			want: Tree{Layout: Absent, Own: "/"},
		},
		"inside a container, read-only": {
			mountinfo: "700 690 0:23 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n", own: "0::/\n",
			want:    Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/", Own: "/", OwnDir: "/sys/fs/cgroup", ReadOnly: true},
			parents: "/sys/fs/cgroup",
		},
		"a subtree is mounted": {
			mountinfo: "700 690 0:23 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", own: "0::/docker/abc/job\n",
			want:    Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/docker/abc", Own: "/docker/abc/job", OwnDir: "/sys/fs/cgroup/job"},
			parents: "/sys/fs/cgroup /sys/fs/cgroup/job",
		},
		"we are beside the subtree": {
			mountinfo: "700 690 0:23 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", own: "0::/docker/abcd\n",
			want: Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/docker/abc", Own: "/docker/abcd"},
		},
		"we are outside of the namespace": {
			mountinfo: "700 690 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", own: "0::/../x\n",
			want: Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/", Own: "/../x"},
		},
		"our cgroup was removed": {
			mountinfo: "700 690 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", own: "0::/x (deleted)\n",
			want: Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/", Own: "/x (deleted)"},
		},
		"a name with a blank": {
			mountinfo: "700 690 0:23 / /mnt/my\\040tree rw - cgroup2 cgroup rw\n", own: "0::/\n",
			want:    Tree{Layout: Hybrid, Mount: "/mnt/my tree", Root: "/", Own: "/", OwnDir: "/mnt/my tree"},
			parents: "/mnt/my tree",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := parseTree(tt.mountinfo, tt.own, func(p string) bool { return p != tt.hidden })
			if got.Layout != tt.want.Layout || got.Mount != tt.want.Mount || got.Root != tt.want.Root || got.Own != tt.want.Own ||
				got.OwnDir != tt.want.OwnDir || got.ReadOnly != tt.want.ReadOnly || !slices.Equal(got.V1, tt.want.V1) {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
			if p := strings.Join(got.parents(), " "); tt.parents != "" && p != tt.parents {
				t.Errorf("parents %s\n   want %s", p, tt.parents)
			}
		})
	}
}

func TestDetectHere(t *testing.T) {
	tree, err := Detect()
	must(t, err)
	need(t, tree.Mount != "", "a cgroup v2 tree")
	if !isCgroup2(tree.Mount) {
		t.Errorf("%s is no cgroup2", tree.Mount)
	}
	if tree.OwnDir != "" && os.Geteuid() == 0 && !tree.ReadOnly && tree.Place == "" {
		t.Errorf("root has no place: %+v", tree)
	}
	procs, err := os.ReadFile(tree.OwnDir + "/cgroup.procs")
	must(t, err)
	if !slices.Contains(ids(string(procs)), os.Getpid()) {
		t.Errorf("we are not in %s", tree.OwnDir)
	}
}
