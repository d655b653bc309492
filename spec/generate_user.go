package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxPasswd bounds the files of the image that are read whole.
const maxPasswd = 8 << 20

func (g *generator) rootFile(name string) ([]byte, error) {
	if g.in.Root == nil {
		return nil, nil
	}
	data, err := g.in.Root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the container's root: %w", name, err)
	}
	if len(data) > maxPasswd {
		return nil, fmt.Errorf("read %s of the container's root: larger than %d MiB", name, maxPasswd>>20)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// userIDs decides uid, gid and supplementary groups.
func (g *generator) userIDs() error {
	var err error
	if g.passwd, err = g.rootFile("/etc/passwd"); err != nil {
		return err
	}
	if g.group, err = g.rootFile("/etc/group"); err != nil {
		return err
	}
	flag, who := g.who()
	if g.user, err = resolveUser(who, g.passwd, g.group); err != nil {
		return refused(flag, who, err)
	}
	if !mapped(g.in.UIDMap, g.user.uid) {
		return g.unmapped(flag, who, "user", g.user.uid, g.in.UIDMap)
	}
	if !mapped(g.in.GIDMap, g.user.gid) {
		return g.unmapped(flag, who, "group", g.user.gid, g.in.GIDMap)
	}
	g.spec.Process.User = specs.User{UID: g.user.uid, GID: g.user.gid}
	return g.groups()
}

// who is the user to run as: the flag, the caller's own ids with keep-id, the
// image's. The first result names where it comes from, for messages.
func (g *generator) who() (flag, who string) {
	switch {
	case g.opt.User != "":
		return "--user", g.opt.User
	case g.in.KeepID:
		return "--userns", fmt.Sprintf("%d:%d", g.in.ContainerUID, g.in.ContainerGID)
	default:
		return "the image's user", g.in.Image.User
	}
}

func (g *generator) unmapped(flag, value, kind string, id uint32, m []specs.LinuxIDMapping) error {
	e := refuse(flag, value, "the container has no %s id %d, only %s", kind, id, ranges(m))
	if g.in.SingleID {
		return e.hint("without subordinate ids there is one id inside: use --user %d:%d, or see coracle doctor", g.in.ContainerUID, g.in.ContainerGID)
	}
	return e.hint("coracle doctor shows the subordinate ids; --uidmap and --gidmap choose from them")
}

func ranges(m []specs.LinuxIDMapping) string {
	var words []string
	for _, r := range m {
		if r.Size == 1 {
			words = append(words, fmt.Sprint(r.ContainerID))
			continue
		}
		words = append(words, fmt.Sprintf("%d-%d", r.ContainerID, uint64(r.ContainerID)+uint64(r.Size)-1))
	}
	return strings.Join(words, ", ")
}

// groups decides the supplementary groups. Except for root, the primary group
// is among them: without it a process could drop it and pass a "deny this
// group" check (CVE-2022-36109 and its like).
func (g *generator) groups() error {
	if slices.Contains(g.opt.GroupAdd, "keep-groups") {
		if len(g.opt.GroupAdd) > 1 {
			return refuse("--group-add", "keep-groups", "cannot be used with other groups")
		}
		g.res.KeepGroups = true
		g.annotate("run.oci.keep_original_groups", "1")
		return nil
	}
	asked, err := g.groupAdd()
	if err != nil {
		return err
	}
	if g.in.SingleID {
		// setgroups(2) is denied in a map that the caller wrote alone.
		if len(asked) > 0 {
			return refuse("--group-add", g.opt.GroupAdd[0], "with a single id there is no other group inside").
				hint("subordinate ids make it possible: see coracle doctor")
		}
		return nil
	}
	var all []uint32
	if g.user.uid != 0 {
		all = append(all, g.user.gid)
	}
	for _, gid := range append(asked, g.user.groups...) {
		if slices.Contains(all, gid) {
			continue
		}
		if !mapped(g.in.GIDMap, gid) {
			g.res.Warnings = append(g.res.Warnings, fmt.Sprintf("group %d of the image is left out: the container has only %s", gid, ranges(g.in.GIDMap)))
			continue
		}
		all = append(all, gid)
	}
	g.spec.Process.User.AdditionalGids = all
	return nil
}

func (g *generator) groupAdd() (gids []uint32, err error) {
	for _, word := range g.opt.GroupAdd {
		gid, ok := findGroup(g.group, word)
		if !ok {
			return nil, refuse("--group-add", word, "no such group in the image's /etc/group").hint("a numeric group id needs no entry there")
		}
		if !g.in.SingleID && !mapped(g.in.GIDMap, gid) {
			return nil, g.unmapped("--group-add", word, "group", gid, g.in.GIDMap)
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

// etcPasswd adds entries for users and groups that the root's own files lack,
// as podman does: the caller with keep-id, a numeric --user, --hostuser. The
// files are bound over the root's; a root without such files gets none.
func (g *generator) etcPasswd() error {
	for _, template := range []string{g.opt.PasswdEntry, g.opt.GroupEntry} {
		if strings.ContainsAny(strings.TrimSuffix(template, "\n"), "\n\r\x00") {
			return refuse("--passwd-entry and --group-entry", template, "must be one line")
		}
	}
	if g.opt.Passwd != nil && !*g.opt.Passwd {
		return nil
	}
	if g.passwd != nil {
		added, err := g.passwdLines()
		if err != nil {
			return err
		}
		g.bindAppended("passwd", g.passwd, added)
	}
	if g.group != nil {
		g.bindAppended("group", g.group, g.groupLines())
	}
	return nil
}

func (g *generator) bindAppended(name string, old []byte, added string) {
	if added == "" {
		return
	}
	text := string(old)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	g.bindFile(name, "/etc/"+name, []byte(text+added))
}

func (g *generator) passwdLines() (string, error) {
	home, err := g.workdir()
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	add := func(e passwdEntry, self bool) {
		if _, ok := findUser([]byte(string(g.passwd)+"\n"+lines.String()), func(o passwdEntry) bool {
			return o.uid == e.uid || o.name == e.name
		}); ok {
			return
		}
		lines.WriteString(g.passwdLine(e))
		if self {
			g.user.name, g.user.home, g.user.known = e.name, e.home, true
		}
	}
	if g.in.KeepID {
		me, own := g.hostCaller(home), g.user.uid == g.in.ContainerUID
		me.uid, me.gid = g.in.ContainerUID, g.in.ContainerGID
		if me.name == "" {
			me.name = fmt.Sprint(me.uid)
		}
		add(me, own)
	}
	for _, name := range g.opt.HostUsers {
		e, ok := g.hostUser(name, home)
		if !ok {
			return "", refuse("--hostuser", name, "no such user on this host")
		}
		add(e, e.uid == g.user.uid)
	}
	if !g.user.known {
		id := fmt.Sprint(g.user.uid)
		add(passwdEntry{name: id, uid: g.user.uid, gid: g.user.gid, gecos: "container user", home: home}, true)
	}
	return lines.String(), nil
}

// passwdLine fills --passwd-entry, or writes what podman does.
func (g *generator) passwdLine(e passwdEntry) string {
	template := g.opt.PasswdEntry
	if template == "" {
		template = "$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh"
	}
	line := strings.NewReplacer("$USERNAME", e.name, "$UID", fmt.Sprint(e.uid), "$GID", fmt.Sprint(e.gid),
		"$NAME", e.gecos, "$HOME", e.home).Replace(template)
	return strings.TrimSuffix(line, "\n") + "\n"
}

func (g *generator) groupLines() string {
	if hasGroup(g.group, g.user.gid) {
		return ""
	}
	name, members := fmt.Sprint(g.user.gid), g.user.name
	if g.in.KeepID && g.user.gid == g.in.ContainerGID {
		if host, ok := g.hostGroup(g.in.HostGID); ok && !g.hasGroupName(host) {
			name = host
		}
	}
	template := g.opt.GroupEntry
	if template == "" {
		template = "$GROUPNAME:x:$GID:$USERLIST"
	}
	line := strings.NewReplacer("$GROUPNAME", name, "$GID", fmt.Sprint(g.user.gid), "$USERLIST", members).Replace(template)
	return strings.TrimSuffix(line, "\n") + "\n"
}

func (g *generator) hasGroupName(name string) (found bool) {
	eachGroup(g.group, func(e groupEntry) bool {
		found = e.name == name
		return !found
	})
	return found
}

func (g *generator) hostGroup(gid uint32) (name string, ok bool) {
	data, err := g.in.Host.ReadFile("/etc/group")
	if err != nil {
		return "", false
	}
	eachGroup(data, func(e groupEntry) bool {
		if e.gid == gid {
			name, ok = e.name, true
		}
		return !ok
	})
	return name, ok
}

// hostCaller is the caller's own entry, with a home that exists inside.
func (g *generator) hostCaller(workdir string) passwdEntry {
	if e, ok := g.hostUser(fmt.Sprint(g.in.HostUID), workdir); ok {
		return e
	}
	// The name may come from a directory service, which has no file.
	return g.withHome(passwdEntry{name: g.in.HostName, home: g.host.get("HOME")}, workdir)
}

func (g *generator) hostUser(who, workdir string) (passwdEntry, bool) {
	data, err := g.in.Host.ReadFile("/etc/passwd")
	if err != nil {
		return passwdEntry{}, false
	}
	e, ok := findUser(data, byUser(who))
	e.gecos = strings.ReplaceAll(e.gecos, ":", " ")
	return g.withHome(e, workdir), ok
}

// withHome replaces a home that is not mounted inside by the working
// directory, as podman does.
func (g *generator) withHome(e passwdEntry, workdir string) passwdEntry {
	if strings.ContainsAny(e.home, ":\n") || !path.IsAbs(e.home) || !g.volumeCovers(e.home) {
		e.home = workdir
	}
	return e
}
