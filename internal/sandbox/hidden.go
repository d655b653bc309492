package sandbox

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// credentials are what a home directory holds of keys and tokens. Kept up by hand:
// a new tool's place is a line here.
func credentials() []string {
	return []string{
		".ssh", ".gnupg", ".pki", ".password-store", ".local/share/keyrings", ".local/share/kwalletd", ".config/op", ".config/1Password", ".config/Bitwarden",
		".config/keepassxc", ".age", ".config/sops", ".vault-token", ".netrc", ".authinfo", ".authinfo.gpg", ".git-credentials", ".config/git/credentials",
		".config/gh", ".config/glab-cli", ".config/hub", ".aws", ".azure", ".config/gcloud", ".oci", ".config/doctl", ".config/hcloud", ".config/scaleway",
		".config/linode-cli", ".terraform.d", ".terraformrc", ".config/rclone", ".s3cfg", ".boto", ".kube", ".docker", ".config/containers", ".config/helm",
		".npmrc", ".yarnrc", ".yarnrc.yml", ".config/yarn", ".pypirc", ".pip", ".config/pip", ".config/pypoetry", ".cargo/credentials", ".cargo/credentials.toml",
		".gem/credentials", ".bundle/config", ".m2/settings.xml", ".m2/settings-security.xml", ".gradle/gradle.properties", ".nuget", ".composer/auth.json",
		".config/composer/auth.json", ".pgpass", ".my.cnf", ".mylogin.cnf", ".mongorc.js", ".dbshell", ".rediscli_auth", ".config/psql",
		".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi",
		".config/Code/User/globalStorage", ".config/Slack", ".config/discord", ".config/Signal", ".local/share/TelegramDesktop", ".purple",
		".bash_history", ".zsh_history", ".histfile", ".local/share/fish/fish_history", ".python_history", ".node_repl_history", ".psql_history",
		".mysql_history", ".sqlite_history", ".lesshst", ".viminfo", ".Xauthority", ".ICEauthority", ".config/coracle",
		".local/share/coracle", ".config/anthropic", ".config/openai", ".huggingface", ".cache/huggingface/token", ".config/wandb", ".kaggle",
		".ethereum", ".bitcoin", ".electrum", ".config/Ledger Live",
	}
}

// rootOnly are files of the host's that only its root may read: to root's own
// sandboxes they are hidden, since for its files root needs no capability.
func rootOnly() []string {
	return []string{"/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/ssl/private", "/etc/sudoers", "/etc/sudoers.d", "/boot",
		"/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/var/spool/cron", "/var/log", "/var/backups",
		"/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/wireguard", "/etc/NetworkManager/system-connections", "/etc/kubernetes"}
}

const rootsOwn = "root's own"

// own are directories of ours: who can write there can have us do on the host whatever
// he likes the next time we are called.
func (p *planner) own() []string {
	out := slices.Clone(p.Facts.Own)
	if dir := getenv(p.Environ, "XDG_CONFIG_HOME"); path.IsAbs(dir) {
		out = append(out, path.Join(dir, "coracle"))
	}
	for _, home := range p.homes {
		out = append(out, path.Join(home, ".config/coracle"), path.Join(home, ".local/share/coracle"))
	}
	if !p.writesHost() {
		return out // through a link to them it could be read only
	}
	for i, name := range out {
		if real, err := p.host.Real(name); err == nil {
			out[i] = real
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *planner) writesHost() bool {
	for _, at := range p.places {
		if at.Kind == KindRW {
			return true
		}
	}
	return false
}

// conceal hides what is our own, and credentials wherever a home directory, or a part of
// it, is shown.
func (p *planner) conceal() error {
	for _, name := range p.own() {
		for _, at := range p.views(name) {
			if place := p.places[at]; (place == nil || !place.asked()) && at != p.plan.Cwd && p.isDir(name) {
				p.add(Place{Path: at, Kind: KindTmpfs, Mode: 0o755, Why: "coracle's own"})
			}
		}
	}
	for _, home := range p.homes {
		if !p.shows(home) {
			continue
		}
		for _, name := range credentials() {
			p.concealPath(path.Join(home, name), "credentials")
		}
	}
	if p.Facts.UID == 0 && p.plan.Root == HostRoot {
		for _, name := range append(rootOnly(), "/root") {
			if !slices.Contains(p.homes, name) {
				p.concealPath(name, rootsOwn)
			}
		}
	}
	return nil
}

// shows says whether anything in a home directory that may be a credential is in sight:
// the names of all begin with a dot.
func (p *planner) shows(home string) bool {
	if len(p.views(home)) > 0 {
		return true
	}
	for _, at := range p.places {
		if below(at.Source, home) && at.Source[len(home)+1] == '.' {
			return true
		}
	}
	return false
}

// concealPath hides a path of the host's where it is seen, but for what a flag names, or
// what the command was started in. Of a directory in which that lies the rest is hidden.
func (p *planner) concealPath(name, why string) {
	real, err := p.host.Real(name) // often a link to where its owner keeps such files
	if err != nil {
		return
	}
	for _, at := range p.views(real) {
		switch place := p.places[at]; {
		case place != nil && (place.asked() || place.Kind == KindTmpfs || at == p.plan.Cwd):
		case p.places[p.plan.Cwd] == nil && (at == p.plan.Cwd || below(p.plan.Cwd, at)):
		case p.holdsNamed(at):
			p.add(Place{Path: at, Kind: KindTmpfs, Mode: 0o755, Why: why})
		default:
			p.plan.Masked = append(p.plan.Masked, Mask{at, why})
		}
	}
}

// asked says that a flag names the place itself.
func (at *Place) asked() bool { return at.Flag != "" && !strings.HasPrefix(at.Flag, "--home") }

// holdsNamed says whether a flag names something in a directory, or the command starts there.
func (p *planner) holdsNamed(dir string) bool {
	for name, at := range p.places {
		if below(name, dir) && (at.asked() || name == p.plan.Cwd) {
			return true
		}
	}
	return false
}

// named says whether a flag names a path, or something in it.
func (p *planner) named(name string) bool {
	for at, place := range p.places {
		if place.asked() && (at == name || below(at, name)) {
			return true
		}
	}
	return false
}

// shields are overlays over the host's own directories that programs write to:
// a socket in a directory that is only bound can be connected to, also where the bind is
// read-only; through an overlay it cannot. Of directories with mounts below them,
// which can have none, the sockets are hidden one by one: see sockets.
func (p *planner) shields() {
	if p.plan.Root != HostRoot || p.Facts.Empty == "" {
		return
	}
	entries, err := p.host.ReadDir("/", splitMax)
	if err != nil {
		return
	}
	never := []string{"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "proc", "run", "sbin", "sys", "tmp", "usr"}
	for _, e := range entries {
		name := "/" + e.Name
		if e.Type != unix.S_IFDIR || slices.Contains(never, e.Name) || p.places[name] != nil || slices.Contains(p.homes, name) {
			continue
		}
		if ok, _ := p.mounts.Lower(name); !ok || len(p.mounts.Below(name)) > 0 || below(p.Facts.Empty, name) {
			continue // one layer may not be in another
		}
		if some, err := p.host.ReadDir(name, 1); err != nil || len(some) == 0 {
			continue
		}
		p.add(Place{Path: name, Kind: KindShield, Source: name, Why: "the host's, without its sockets"})
	}
}

// sockets hides those that the kernel has a name of. One that is bound later, or in
// another network namespace of the host's, is not among them.
func (p *planner) sockets() error {
	data, err := p.host.UnixSockets()
	if err != nil {
		return nil //nolint:nilerr // a kernel without unix sockets
	}
	dirs := []string{p.Facts.Cwd}
	for _, at := range p.sorted() {
		if at.Kind == KindRW {
			dirs = append(dirs, at.Source)
		}
	}
	seen := map[string]bool{}
	for _, name := range socketPaths(string(data), dirs) {
		if !seen[name] && len(seen) < 4096 {
			seen[name] = true
			p.hideSocket(name)
		}
	}
	return nil
}

func (p *planner) hideSocket(name string) {
	for _, view := range p.views(name) {
		if at := p.within(view); at != nil && (at.Kind == KindOverlay || at.Kind == KindShield || at.Path == view) {
			continue
		}
		if st, err := p.host.Stat(name); err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			p.plan.Masked = append(p.plan.Masked, Mask{view, "a socket"})
		}
	}
}

// socketPaths reads /proc/net/unix: the eighth field of a line is the name that the
// socket was bound to. One that does not begin with / is looked for in dirs.
func socketPaths(text string, dirs []string) []string {
	var out []string
	_, text, _ = strings.Cut(text, "\n") // the titles
	for line := range strings.Lines(text) {
		const fields = 7 // before the name
		name, rest := "", strings.TrimSuffix(line, "\n")
		for range fields {
			_, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
		}
		if name = rest; name == "" || name[0] == '@' || path.Clean(name) != name {
			continue
		}
		if name[0] == '/' {
			out = append(out, name)
			continue
		}
		for _, dir := range dirs {
			out = append(out, path.Join(dir, name))
		}
	}
	return out
}
