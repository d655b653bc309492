package spec

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"coracle/fuse"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Secret is a secret with its data, on its way into a container. It goes into
// the program of the first process, and from there into memory of the
// container's: no file of the host's, of a layer or of config.json has it.
type Secret struct {
	SecretUse
	Data []byte
}

// secrets puts the secrets that are files on a tmpfs, before it is attached:
// no path of the container is walked with a secret in hand. What has a place of
// its own is bound there, and its name on the tmpfs goes.
func (c *child) secrets() {
	files := c.x.Secrets[:len(c.x.Secrets):len(c.x.Secrets)]
	files = slices.DeleteFunc(slices.Clone(files), func(s Secret) bool { return s.Target == "" })
	if len(files) == 0 {
		return
	}
	const label = "put secrets on a tmpfs"
	c.newFS(label, "tmpfs", []fuse.Param{
		{Key: "source", Value: "secrets"}, {Key: "mode", Value: "0755"}, {Key: "size", Value: strconv.Itoa(secretsSize(files))},
	}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	made, written := make(map[string]bool), c.p.NewReg()
	for i, s := range files {
		name, inside := strings.CutPrefix(s.Target, SecretsDir+"/")
		if !inside {
			name = ".elsewhere-" + strconv.Itoa(i)
		}
		c.secretDirs(label, path.Dir(name), made)
		c.secretFile(label, name, s, written)
	}
	top := c.p.NewReg()
	c.p.Call(label, unix.SYS_FCNTL, c.mount, unix.F_DUPFD_CLOEXEC, 3).To(top)
	c.open(target{label: label, dest: SecretsDir})
	c.attach(label)
	for i, s := range files {
		if strings.HasPrefix(s.Target, SecretsDir+"/") {
			continue
		}
		name := ".elsewhere-" + strconv.Itoa(i)
		label := "put a secret on " + s.Target
		c.p.Call(label, unix.SYS_OPENAT, top, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0).To(c.tmp)
		c.openTree(label, c.tmp, "", false)
		c.closeReg(c.tmp)
		c.open(target{label: label, dest: s.Target, kind: fileTarget})
		c.attach(label)
		c.p.Call(label, unix.SYS_UNLINKAT, top, name, 0)
	}
	c.closeReg(top)
}

// secretsSize is what the tmpfs may hold: the secrets, and a little more.
func secretsSize(files []Secret) int {
	const page = 64 << 10 // the largest page of arm64
	n := 16 * page
	for _, s := range files {
		n += (len(s.Data)/page + 2) * page
	}
	return n
}

// secretDirs makes a directory on the tmpfs in c.mount, and those above it.
func (c *child) secretDirs(label, dir string, made map[string]bool) {
	if dir == "." || made[dir] {
		return
	}
	c.secretDirs(label, path.Dir(dir), made)
	made[dir] = true
	c.p.Call(label, unix.SYS_MKDIRAT, c.mount, dir, 0o755)
}

func (c *child) secretFile(label, name string, s Secret, written userns.Reg) {
	c.p.Call(label, unix.SYS_OPENAT, c.mount, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600).To(c.tmp)
	if len(s.Data) > 0 {
		c.p.Call(label, unix.SYS_WRITE, c.tmp, c.p.Bytes(s.Data), uintptr(len(s.Data))).To(written)
		c.p.Need(label, written, uintptr(len(s.Data)), unix.ENOSPC)
	}
	c.p.Call(label, unix.SYS_FCHOWN, c.tmp, s.UID, s.GID)
	c.p.Call(label, unix.SYS_FCHMOD, c.tmp, s.Mode)
	c.closeReg(c.tmp)
}

// environ is the payload's environment with the secrets that are variables.
func (c *child) environ(env []string) []string {
	for _, s := range c.x.Secrets {
		if s.Env == "" {
			continue
		}
		env = slices.DeleteFunc(slices.Clone(env), func(word string) bool { return strings.HasPrefix(word, s.Env+"=") })
		env = append(env, s.Env+"="+string(s.Data))
	}
	return env
}
