package spec

import (
	"slices"
	"strings"
)

// passwdEntry is a line of passwd(5).
type passwdEntry struct {
	name, gecos, home, shell string
	uid, gid                 uint32
}

// groupEntry is a line of group(5).
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// eachLine calls f with every line that can be an entry: no comments, no
// blank lines, none of NIS's + and - lines. The files come from an image:
// what is malformed is skipped, never taken for uid 0 (moby/sys/user reads
// a missing number as 0).
func eachLine(data []byte, f func(fields []string) bool) {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '+' || line[0] == '-' {
			continue
		}
		if !f(strings.Split(line, ":")) {
			return
		}
	}
}

// findUser gives the first entry of passwd that match accepts.
func findUser(passwd []byte, match func(passwdEntry) bool) (found passwdEntry, ok bool) {
	eachLine(passwd, func(fields []string) bool {
		if len(fields) < 4 || fields[0] == "" {
			return true
		}
		e := passwdEntry{name: fields[0]}
		var uidOK, gidOK bool
		e.uid, uidOK = parseID(fields[2])
		e.gid, gidOK = parseID(fields[3])
		if !uidOK || !gidOK {
			return true
		}
		for i, field := range []*string{&e.gecos, &e.home, &e.shell} {
			if 4+i < len(fields) {
				*field = fields[4+i]
			}
		}
		if !match(e) {
			return true
		}
		found, ok = e, true
		return false
	})
	return found, ok
}

// byUser matches a name or a number, as moby's and runc's GetExecUser do.
func byUser(s string) func(passwdEntry) bool {
	id, isID := parseID(s)
	return func(e passwdEntry) bool { return e.name == s || isID && e.uid == id }
}

// eachGroup calls f for every entry of group until it returns false.
func eachGroup(group []byte, f func(groupEntry) bool) {
	eachLine(group, func(fields []string) bool {
		if len(fields) < 3 || fields[0] == "" {
			return true
		}
		gid, ok := parseID(fields[2])
		if !ok {
			return true
		}
		e := groupEntry{name: fields[0], gid: gid}
		if len(fields) > 3 && fields[3] != "" {
			e.members = strings.Split(fields[3], ",")
		}
		return f(e)
	})
}

// findGroup resolves a name, or a number that needs no entry.
func findGroup(group []byte, s string) (gid uint32, ok bool) {
	id, isID := parseID(s)
	eachGroup(group, func(e groupEntry) bool {
		if e.name == s || isID && e.gid == id {
			gid, ok = e.gid, true
		}
		return !ok
	})
	if !ok && isID {
		return id, true
	}
	return gid, ok
}

func hasGroup(group []byte, gid uint32) (found bool) {
	eachGroup(group, func(e groupEntry) bool {
		found = e.gid == gid
		return !found
	})
	return found
}

// execUser is who the payload runs as.
type execUser struct {
	uid, gid uint32
	groups   []uint32 // supplementary, without gid
	name     string   // "" without an entry in passwd
	home     string
	known    bool // has an entry in passwd
}

// resolveUser finds user[:group] in an image's files, by the rules of moby's
// and runc's GetExecUser: a number needs no entry; supplementary groups come
// from the group file, and only for a user with an entry and without an
// explicit group.
func resolveUser(spec string, passwd, group []byte) (execUser, error) {
	userPart, groupPart, _ := strings.Cut(spec, ":")
	if userPart == "" {
		userPart = "0"
	}
	u := execUser{home: "/"}
	if e, ok := findUser(passwd, byUser(userPart)); ok {
		u = execUser{uid: e.uid, gid: e.gid, name: e.name, home: e.home, known: true}
	} else if u.uid, ok = parseID(userPart); !ok {
		return u, bad("no user %q in the image's /etc/passwd", userPart).hint("a numeric user id needs no entry there")
	}
	if u.home == "" {
		u.home = "/"
	}
	if groupPart != "" {
		gid, ok := findGroup(group, groupPart)
		if !ok {
			return u, bad("no group %q in the image's /etc/group", groupPart).hint("a numeric group id needs no entry there")
		}
		u.gid = gid
		return u, nil
	}
	if u.known {
		u.groups = memberOf(group, u.name, u.gid)
	}
	return u, nil
}

// memberOf lists the groups that name a user, except its primary one.
func memberOf(group []byte, name string, primary uint32) (gids []uint32) {
	eachGroup(group, func(e groupEntry) bool {
		if e.gid != primary && slices.Contains(e.members, name) && !slices.Contains(gids, e.gid) {
			gids = append(gids, e.gid)
		}
		return true
	})
	return gids
}
