package spec

import (
	"path"
	"strings"
	"testing"
)

// A destination that a parser lets through is absolute, clean and below /.
func checkDestination(t *testing.T, s string) {
	t.Helper()
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" || strings.ContainsRune(s, 0) {
		t.Errorf("destination %q", s)
	}
}

func FuzzVolume(f *testing.F) {
	for _, s := range []string{"/a:/b", "./a:/b:ro,z", "a:/b", "/a", ":", "/a:/b:idmap=uids=0-1-2;gids=0-1-2", "/a:/b:O,upperdir=/u,workdir=/w", "/a:/../..:U"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVolume(s)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			return
		}
		checkDestination(t, v.destination)
		options := v.options.mountOptions()
		if len(options) < 3 || !strings.Contains(" bind rbind ", " "+options[0]+" ") || strings.Contains(strings.Join(options, ""), ",") {
			t.Errorf("options %q", options)
		}
	})
}

func FuzzMount(f *testing.F) {
	for _, s := range []string{
		"type=bind,src=/a,dst=/b,ro", `type=bind,"src=/a,b",target=/c`, "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700", "type=devpts,dst=/p,gid=5",
		"type=glob,src=/a*", "type=volume,dst=/x", "dst=/x", "type=bind,src=/a,dst=/b,idmap=uids=0-1-2;gids=0-1-2,bind-recursive=writable",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMount(s)
		if err != nil {
			return
		}
		if m.destination != "" || m.kind != "glob" {
			checkDestination(t, m.destination)
		}
		for _, o := range m.tmpfs.mountOptions(execUser{}) {
			if strings.ContainsAny(o, ",\x00") {
				t.Errorf("option %q", o)
			}
		}
	})
}

func FuzzUlimit(f *testing.F) {
	for _, s := range []string{"nofile=1:2", "core=-1", "nproc=unlimited", "x", "=", "cpu=18446744073709551615", "RLIMIT_STACK=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseUlimit(s)
		if err == nil && (u.soft > u.hard || u.name == "" || strings.ToLower(u.name) != u.name) {
			t.Errorf("%q: %+v", s, u)
		}
	})
}

func FuzzPasswd(f *testing.F) {
	f.Add("alice", []byte(imagePasswd), []byte(imageGroup))
	f.Add("0:0", []byte("root:x:0:0\n"), []byte("root:x:0:\n"))
	f.Add("1:x", []byte(":::::\n\x00:x:-1:4294967296"), []byte("x:x:99999999999999999999:\n"))
	f.Fuzz(func(t *testing.T, user string, passwd, group []byte) {
		u, err := resolveUser(user, passwd, group)
		if err != nil {
			return
		}
		// Whoever becomes root by a name must stand in passwd with a 0.
		name, _, _ := strings.Cut(user, ":")
		if _, number := parseID(name); u.uid == 0 && !u.known && name != "" && !number {
			t.Errorf("%q became root", user)
		}
		if u.home == "" || u.uid > 1<<31-1 || u.gid > 1<<31-1 {
			t.Errorf("%+v", u)
		}
	})
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\n# c\nB\nC*\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var env environment
		if env.addFile(data, environment{"B=2", "C1=3"}) != nil {
			return
		}
		for i, kv := range env {
			name, _, ok := strings.Cut(kv, "=")
			if !ok || name == "" || env.find(name) != i {
				t.Errorf("%q in %q", kv, env)
			}
		}
	})
}

func FuzzSysctlName(f *testing.F) {
	f.Add("net.ipv4.ip_forward")
	f.Add("net/ipv4/conf/eth0.1/rp_filter")
	f.Fuzz(func(t *testing.T, key string) {
		if !isSysctl(key) {
			return
		}
		if p := path.Join("/proc/sys", strings.ReplaceAll(key, ".", "/")); !strings.HasPrefix(p, "/proc/sys/") {
			t.Errorf("%q leads to %s", key, p)
		}
		if p := path.Join("/proc/sys", key); !strings.HasPrefix(p, "/proc/sys/") {
			t.Errorf("%q leads to %s", key, p)
		}
	})
}
