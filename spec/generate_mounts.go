package spec

import (
	"fmt"
	"strings"
)

// defaultShm is docker's and podman's size of /dev/shm.
const defaultShm = "65536k"

// defaultMounts places what every container has, as podman and docker do.
// What belongs to a namespace of the host's is the host's own, bound: a new
// mount of it is refused to a user namespace that does not own that
// namespace.
func (g *generator) defaultMounts() error {
	shm, err := g.shmSize()
	if err != nil {
		return err
	}
	if !g.hostPID {
		g.placeDefault("/proc", "proc", "proc", append([]string{"nosuid", "noexec", "nodev"}, g.profile.procOpts...)...)
	} else {
		if len(g.profile.procOpts) > 0 {
			return refuse("--security-opt", "proc-opts="+strings.Join(g.profile.procOpts, ","), "the host's /proc keeps its options").hint("leave out --pid host")
		}
		g.placeDefault("/proc", "bind", "/proc", "rbind", "rprivate", "nosuid", "noexec", "nodev")
	}
	g.placeDefault("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if mapped(g.in.GIDMap, 5) {
		pts = append(pts, "gid=5") // tty, in every distribution
	}
	g.placeDefault("/dev/pts", "devpts", "devpts", pts...)
	g.ipcMounts(shm)
	g.sysMounts()
	return nil
}

func (g *generator) shmSize() (string, error) {
	s := g.opt.ShmSize
	if s == "" {
		return defaultShm, nil
	}
	if g.hostIPC || g.noShm {
		return "", refuse("--shm-size", s, "the container has no /dev/shm of its own").hint("leave out --ipc %s", g.opt.IPC)
	}
	n, err := ParseBytes(s)
	if err != nil {
		return "", refused("--shm-size", s, err)
	}
	return fmt.Sprint(n), nil // 0 is unlimited, for tmpfs as for podman
}

// allReadOnly says that not even the tmpfs of a read-only root are wanted.
func (g *generator) allReadOnly() bool { return g.opt.ReadOnly && !g.withReadOnlyTmpfs() }

func (g *generator) ipcMounts(shm string) {
	if !g.hostIPC {
		g.placeDefault("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
		if !g.noShm {
			g.placeDefault("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size="+shm)
		}
		return
	}
	for _, dir := range []string{"/dev/mqueue", "/dev/shm"} {
		if _, err := g.in.Host.Stat(dir); err == nil {
			g.placeDefault(dir, "bind", dir, "rbind", "rprivate", "nosuid", "noexec", "nodev")
		}
	}
}

func (g *generator) sysMounts() {
	access := "ro"
	if g.opt.Privileged {
		access = "rw"
	}
	if !g.hostNet {
		g.placeDefault("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", access)
	} else {
		g.placeDefault("/sys", "bind", "/sys", "rbind", "rprivate", "nosuid", "noexec", "nodev", access)
	}
	g.cgroupMount(access)
}

// cgroupMount shows the container's own cgroup; the host's tree with --cgroupns
// host, of which nothing can be written to.
func (g *generator) cgroupMount(access string) {
	if !g.in.Host.CgroupV2() {
		return
	}
	if !g.ownCgroup {
		g.placeDefault("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", "rbind", "rprivate", "nosuid", "noexec", "nodev", "ro")
		return
	}
	if g.profile.unmasks("/sys/fs/cgroup") || g.res.Systemd || g.profile.cgroups {
		access = "rw"
	}
	g.placeDefault("/sys/fs/cgroup", "cgroup", "cgroup", "rprivate", "nosuid", "noexec", "nodev", "relatime", access)
}
