package spec

import (
	"slices"
	"strings"
)

// sysctls takes those of the container's own namespaces, and nothing else: a
// sysctl of the host's is not a container's to change.
func (g *generator) sysctls() error {
	for _, word := range g.opt.Sysctl {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return refuse("--sysctl", word, "must be NAME=VALUE")
		}
		key = strings.TrimSpace(key)
		if !isSysctl(key) {
			return refuse("--sysctl", word, "%q is not the name of a sysctl", key)
		}
		if err := g.sysctl(word, key, strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

// isSysctl refuses names that would lead out of /proc/sys. Parts are
// separated by dots, or by slashes where a part has a dot itself.
func isSysctl(key string) bool {
	for part := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' }) {
		if part == "." || part == ".." {
			return false
		}
	}
	for _, c := range []byte(key) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.', c == '/', c == ':', c == '@':
		default:
			return false
		}
	}
	return key != "" && !strings.Contains(key, "..") && !strings.Contains(key, "//") &&
		strings.Trim(key, "./") == key
}

func (g *generator) sysctl(word, key, value string) error {
	ipc := []string{
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
		"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	}
	name := strings.ReplaceAll(key, "/", ".") // net/ipv4/ip_forward is the same as net.ipv4.ip_forward
	own, namespace, flag, mode := false, "", "", ""
	switch {
	case strings.HasPrefix(name, "net."):
		own, namespace, flag, mode = g.ownNet, "network", "--network", g.opt.Network
	case slices.Contains(ipc, name), strings.HasPrefix(name, "fs.mqueue."):
		own, namespace, flag, mode = g.ownIPC, "IPC", "--ipc", g.opt.IPC
	case name == "kernel.hostname":
		return refuse("--sysctl", word, "the host name has a flag of its own").hint("--hostname %s", value)
	case name == "kernel.domainname":
		if !g.ownUTS {
			return refuse("--sysctl", word, "the container uses %s UTS namespace", whose(g.opt.UTS)).hint("leave out --uts %s", g.opt.UTS)
		}
		// Its file in /proc belongs to the host's root; setdomainname(2) is
		// what the owner of the namespace may call.
		g.spec.Domainname = value
		return nil
	default:
		return refuse("--sysctl", word, "%s belongs to no namespace, so it would change the host", name).
			hint("net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem and kernel.domainname can be set")
	}
	if !own {
		return refuse("--sysctl", word, "the container uses %s %s namespace", whose(mode), namespace).hint("leave out %s %s", flag, mode)
	}
	if g.spec.Linux.Sysctl == nil {
		g.spec.Linux.Sysctl = make(map[string]string)
	}
	g.spec.Linux.Sysctl[key] = value
	return nil
}
