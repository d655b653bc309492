package spec

import "strconv"

// NameTable gives ids the names that a user database has for them.
type NameTable struct{ users, groups map[uint32]string }

// ReadNames reads the text of passwd(5) and group(5).
func ReadNames(passwd, group []byte) NameTable {
	t := NameTable{users: map[uint32]string{}, groups: map[uint32]string{}}
	findUser(passwd, func(e passwdEntry) bool {
		if _, ok := t.users[e.uid]; !ok {
			t.users[e.uid] = e.name
		}
		return false
	})
	eachGroup(group, func(e groupEntry) bool {
		if _, ok := t.groups[e.gid]; !ok {
			t.groups[e.gid] = e.name
		}
		return true
	})
	return t
}

// NameTable is the container's own user database, as it is now.
func (c *Container) NameTable() (NameTable, error) {
	passwd, group, err := c.userFiles()
	return ReadNames(passwd, group), err
}

// User is the name of a user, or the number where it has none.
func (t NameTable) User(id uint32) string { return nameOr(t.users, id) }

// Group is the same for a group.
func (t NameTable) Group(id uint32) string { return nameOr(t.groups, id) }

func nameOr(names map[uint32]string, id uint32) string {
	if name, ok := names[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}
