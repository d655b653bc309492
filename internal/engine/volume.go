package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a volume is on disk:
//
//	ROOT/volumes/NAME/volume.json  what it is
//	ROOT/volumes/NAME/_data        what containers see
//	ROOT/volumes/NAME/copy         what the image had there, whole, on its way into _data
//	ROOT/volumes/.new-NAME         one that is being made
//	ROOT/volumes/.dead-NAME        one that is being removed
//	ROOT/locks/volume-NAME         held by whoever makes, fills, empties or removes it
//
// A volume appears and goes by one rename. Files in _data may belong to any id
// of the caller's; only the store stage touches them.

const (
	volumeRecord = "volume.json"
	volumeData   = "_data"
)

// Volume is the record of a volume, with podman's names where inspect shows it.
type Volume struct {
	Name       string
	Driver     string
	Mountpoint string
	CreatedAt  time.Time
	Labels     map[string]string
	Scope      string
	Options    map[string]string
	Anonymous  bool
	MountCount int // running containers that have it

	NeedsCopyUp bool // the next image that has something there fills it
	NeedsChown  bool // the next container gives it its owner

	// UID and GID are the owner that options gave it, in ids of the default map.
	UID uint32 `json:",omitempty"`
	GID uint32 `json:",omitempty"`
}

// VolumeOptions are those of `volume create`.
type VolumeOptions struct {
	Name      string // "": a random one
	Driver    string // "" or local
	Labels    map[string]string
	Options   map[string]string // type, device, o
	Ignore    bool              // one that is there is no error
	anonymous bool
}

func (e *Engine) volumesDir() string           { return filepath.Join(e.root, "volumes") }
func (e *Engine) volumeDir(name string) string { return filepath.Join(e.volumesDir(), name) }
func (e *Engine) volumeData(name string) string {
	return filepath.Join(e.volumesDir(), name, volumeData)
}

// errNoVolume is a name that no volume has.
type errNoVolume string

func (e errNoVolume) Error() string   { return fmt.Sprintf("no volume is called %q", string(e)) }
func (e errNoVolume) Is(t error) bool { return t == fs.ErrNotExist }
func (e errNoVolume) Hint() string    { return "see coracle volume ls" }

// absent makes a removal of what is not there exit with 1, as podman's.
func absent(err error) error {
	if !isNotFound(err) {
		return err
	}
	return &Error{Err: err, Help: hintOf(err), Code: 1}
}

func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok { //nolint:errorlint // the outermost counts
		return h.Hint()
	}
	return ""
}

// CreateVolume makes a volume.
func (e *Engine) CreateVolume(ctx context.Context, o VolumeOptions) (Volume, error) {
	if o.Name == "" {
		o.Name = newID()
	}
	op := "create volume " + o.Name
	if err := o.check(); err != nil {
		return Volume{}, err
	}
	if _, err := e.store(); err != nil {
		return Volume{}, err
	}
	lock, err := e.lockVolume(ctx, o.Name)
	if err != nil {
		return Volume{}, fmt.Errorf("%s: %w", op, err)
	}
	defer lock.Release()
	v, err := e.readVolume(o.Name)
	if err == nil && o.Ignore {
		return v, nil
	}
	if err == nil {
		return v, &Error{Op: op, Err: errors.New("there is one of that name"), Help: "choose another name, add --ignore, or type: coracle volume rm " + o.Name}
	}
	if !isNotFound(err) {
		return v, err
	}
	e.sweepVolumes(ctx)
	return e.makeVolume(ctx, o)
}

func (o VolumeOptions) check() error {
	op := fmt.Sprintf("create volume %q", o.Name)
	if err := checkName(o.Name); err != nil {
		return &Error{Op: op, Err: errors.New("a name starts with a letter or digit, and has up to 200 letters, digits, _ . -")}
	}
	if o.Driver != "" && o.Driver != "local" {
		return &Error{Op: op, Err: fmt.Errorf("there is no driver %q", o.Driver), Help: "local is the only one: leave --driver out"}
	}
	_, err := parseVolumeOptions(o.Options)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// makeVolume makes a volume whose lock we have, and that is not there.
func (e *Engine) makeVolume(ctx context.Context, o VolumeOptions) (Volume, error) {
	op := "create volume " + o.Name
	tmp := filepath.Join(e.volumesDir(), ".new-"+o.Name)
	if err := os.MkdirAll(e.volumesDir(), 0o700); err != nil {
		return Volume{}, fmt.Errorf("%s: %w", op, err)
	}
	opts, err := parseVolumeOptions(o.Options)
	if err != nil {
		return Volume{}, fmt.Errorf("%s: %w", op, err)
	}
	v := Volume{
		Name: o.Name, Driver: "local", CreatedAt: time.Now().UTC(), Labels: o.Labels, Options: o.Options, Scope: "local",
		Anonymous: o.anonymous, NeedsCopyUp: opts.plain(), NeedsChown: opts.plain() && !opts.owned,
		UID: opts.uid, GID: opts.gid,
	}
	err = e.removeVolumeTree(ctx, filepath.Base(tmp)) // of one who was killed
	if err == nil {
		err = os.Mkdir(tmp, 0o700)
	}
	if err == nil {
		err = makeDataDir(filepath.Join(tmp, volumeData))
	}
	if err == nil && opts.owned {
		err = e.giveDir(ctx, "/volumes/.new-"+o.Name+"/"+volumeData, opts.uid, opts.gid)
	}
	if err == nil {
		// An anonymous one is worth no more than its container, which is not
		// written down for a power cut either.
		err = writeJSON(filepath.Join(tmp, volumeRecord), v, !v.Anonymous)
	}
	if err == nil {
		err = os.Rename(tmp, e.volumeDir(o.Name))
	}
	if err == nil && !v.Anonymous {
		err = syncDir(e.volumesDir())
	}
	if err != nil {
		_ = e.removeVolumeTree(context.WithoutCancel(ctx), filepath.Base(tmp))
		return Volume{}, e.explainVolume(op, err)
	}
	v.Mountpoint = e.volumeData(o.Name)
	e.emit(volumeEvent("create", v.Name))
	return v, nil
}

// makeDataDir makes a directory whatever the umask is.
func makeDataDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // containers' users read it, the directory above is ours only
}

func (e *Engine) explainVolume(op string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return &Error{Op: op, Err: err, Help: "the store is read-only: name another with --root DIR"}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &Error{Op: op, Err: err, Help: "see what can go: coracle volume prune, coracle rmi"}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// giveDir gives a directory of the store to an id of the default map.
func (e *Engine) giveDir(ctx context.Context, dir string, uid, gid uint32) error {
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	s := e.stage(ctx, ids.Base)
	return errors.Join(s.Call(ctx, dirsOp, dirsRequest{Dirs: []string{dir}, UID: uid, GID: gid}, nil), s.Close())
}

// readVolume reads the record. What is not a directory of ours is no volume.
func (e *Engine) readVolume(name string) (Volume, error) {
	var v Volume
	if name == "" || checkName(name) != nil {
		return v, errNoVolume(name)
	}
	for _, dir := range []string{e.volumesDir(), e.volumeDir(name), e.volumeData(name)} {
		st, err := os.Lstat(dir)
		if isNotFound(err) {
			return v, errNoVolume(name)
		}
		if err != nil {
			return v, fmt.Errorf("read volume %s: %w", name, err)
		}
		if !st.IsDir() {
			return v, &Error{Op: "read volume " + name, Err: fmt.Errorf("%s is no directory", dir), Help: "move it away: a volume elsewhere is made with coracle volume create --opt type=bind --opt device=DIR NAME"}
		}
	}
	if err := readJSON(filepath.Join(e.volumeDir(name), volumeRecord), &v); err != nil {
		return v, fmt.Errorf("read volume %s: %w", name, err)
	}
	v.Name, v.Mountpoint = name, e.volumeData(name)
	if v.Labels == nil {
		v.Labels = map[string]string{} // as podman prints them
	}
	if v.Options == nil {
		v.Options = map[string]string{}
	}
	return v, nil
}

// Volumes lists the volumes that all filters hold for, by name.
func (e *Engine) Volumes(filters []string) ([]Volume, error) {
	f, err := e.parseVolumeFilters(filters)
	if err != nil {
		return nil, err
	}
	names, err := e.volumeNames()
	if err != nil {
		return nil, fmt.Errorf("list the volumes: %w", err)
	}
	var out []Volume
	for _, name := range names {
		v, err := e.readVolume(name)
		if isNotFound(err) {
			continue // removed at this moment
		}
		if err != nil {
			e.warn(err.Error(), hintOf(err))
			continue
		}
		if f.matches(v) {
			out = append(out, v)
		}
	}
	return out, nil
}

func (e *Engine) volumeNames() ([]string, error) {
	entries, err := os.ReadDir(e.volumesDir())
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	var names []string
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), ".") {
			names = append(names, d.Name())
		}
	}
	slices.SortFunc(names, cmp.Compare)
	return names, nil
}

// Volume finds a volume by its name, or the unambiguous start of it.
func (e *Engine) Volume(name string) (Volume, error) {
	v, err := e.readVolume(name)
	if isNotFound(err) {
		if name, err = e.wholeVolumeName(name); err == nil {
			v, err = e.readVolume(name)
		}
	}
	if err != nil {
		return v, err
	}
	users, err := e.volumeUsers()
	if err != nil {
		return v, err
	}
	for _, id := range users[v.Name] {
		if e.alive(id) {
			v.MountCount++
		}
	}
	return v, nil
}

// VolumeExists says whether there is a volume of exactly that name.
func (e *Engine) VolumeExists(name string) (bool, error) {
	_, err := e.readVolume(name)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *Engine) wholeVolumeName(start string) (string, error) {
	if start == "" {
		return "", errNoVolume(start)
	}
	names, err := e.volumeNames()
	if err != nil {
		return "", fmt.Errorf("find volume %s: %w", start, err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, start) })
	switch len(names) {
	case 0:
		return "", errNoVolume(start)
	case 1:
		return names[0], nil
	}
	return "", &Error{Op: "find volume " + start, Err: errors.New("several names start like this"), Help: "give more of the name: coracle volume ls"}
}
