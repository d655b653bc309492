package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/cgroupv2"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// NoCRIUError says that the program which does it is not there.
type NoCRIUError struct{ err error }

func (e *NoCRIUError) Error() string {
	return fmt.Sprintf("checkpoint and restore need CRIU: %v", e.err)
}                                    //nolint:errorlint // Unwrap gives it
func (e *NoCRIUError) Unwrap() error { return e.err }
func (e *NoCRIUError) Hint() string  { return "sudo apt-get install criu" }

// CRIUError is what CRIU could not do.
type CRIUError struct {
	Log string // its log, "" where it has left none
	Why string // the lines of it that tell
	err error
}

func (e *CRIUError) Error() string {
	switch {
	case e.Log == "":
		return fmt.Sprintf("criu: %v (it left no log)", e.err) //nolint:errorlint // Unwrap gives it
	case e.Why == "":
		return fmt.Sprintf("criu: %v (log: %s)", e.err, e.Log) //nolint:errorlint // as above
	}
	return fmt.Sprintf("criu: %v: %s (log: %s)", e.err, e.Why, e.Log) //nolint:errorlint // as above
}
func (e *CRIUError) Unwrap() error { return e.err }

func (e *CRIUError) Hint() string {
	if !HostRoot() {
		return "CRIU needs privileges that a user has not, even with sudo setcap cap_checkpoint_restore+eip \"$(command -v criu)\" (docs/user-guide.md); as root: sudo coracle oci …"
	}
	return "sudo criu check --all says what this kernel lacks"
}

// sbin is where administrators' programs are: callers' search paths often end
// before.
const sbin = "/usr/local/sbin:/usr/sbin:/sbin"

// findProgram looks in more directories than $PATH has.
func findProgram(name, more string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || !errors.Is(err, exec.ErrNotFound) {
		return path, err
	}
	for _, dir := range filepath.SplitList(more) {
		if path, serr := exec.LookPath(filepath.Join(dir, name)); serr == nil {
			return path, nil
		}
	}
	return "", err
}

// dump is a pair of directories that CRIU works with.
type dump struct {
	criu         string
	images, work *os.File
	log          string
	made         bool     // the directory of the images
	before       []string // what was in it
	yard         string   // where CRIU finds the cgroup tree; "" where it mounts it itself
}

func openDump(o CheckpointOptions, log string, write bool) (_ *dump, err error) {
	d := &dump{log: log}
	if d.criu, err = findProgram("criu", sbin); err != nil {
		return nil, &NoCRIUError{err}
	}
	if o.WorkPath == "" {
		o.WorkPath = o.ImagePath
	}
	if write {
		if _, err := os.Lstat(o.ImagePath); errors.Is(err, os.ErrNotExist) {
			d.made = true
		}
		if err := os.MkdirAll(o.ImagePath, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of the checkpoint: %w", err)
		}
	}
	if d.images, err = openImages(o.ImagePath); err != nil {
		return nil, fmt.Errorf("open the checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := checkParent(o); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.WorkPath, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of CRIU's logs: %w", err)
	}
	if d.work, err = openImages(o.WorkPath); err != nil {
		return nil, fmt.Errorf("open the directory of CRIU's logs: %w", err)
	}
	if d.before, err = d.images.Readdirnames(-1); err != nil {
		return nil, fmt.Errorf("look into the checkpoint: %w", err)
	}
	// What an earlier attempt said is no reason of this one.
	if err := os.Remove(filepath.Join(d.work.Name(), log)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove CRIU's old log: %w", err)
	}
	return d, nil
}

// openImages opens a directory. CRIU reopens the descriptor through our
// /proc/PID/fd, so it need not be inherited.
func openImages(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// checkParent: CRIU takes the parent's place as relative to the images, and
// where there is none it writes all of the memory without a word.
func checkParent(o CheckpointOptions) error {
	if o.ParentPath == "" {
		return nil
	}
	if filepath.IsAbs(o.ParentPath) {
		return fmt.Errorf("--parent-path %s: it must be relative to --image-path", o.ParentPath)
	}
	f, err := openImages(filepath.Join(o.ImagePath, o.ParentPath))
	if err != nil {
		return fmt.Errorf("--parent-path %s: %w", o.ParentPath, err)
	}
	return f.Close()
}

func (d *dump) close() {
	if d.yard != "" {
		leaveYard(d.yard)
	}
	for _, f := range []*os.File{d.images, d.work} {
		if f != nil {
			f.Close()
		}
	}
}

// write keeps a piece of ours beside the images.
func (d *dump) write(name string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		err = replaceFile(filepath.Join(d.images.Name(), name), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s of the checkpoint: %w", name, err)
	}
	return nil
}

// discard removes the images of a checkpoint that did not come about; the log
// is left for who wants to read it.
func (d *dump) discard() {
	entries, err := os.ReadDir(d.images.Name())
	if err != nil {
		return
	}
	for _, e := range entries {
		ours := strings.HasSuffix(e.Name(), ".img") || e.Name() == stdioFile || e.Name() == "parent" || e.Name() == "stats-dump"
		if ours && !slices.Contains(d.before, e.Name()) {
			os.Remove(filepath.Join(d.images.Name(), e.Name()))
		}
	}
	if d.made {
		os.Remove(d.images.Name()) // if it is empty
	}
}

// sweep takes away the cgroup trees that a CRIU or one of us that was killed leaves
// mounted among its logs.
func (d *dump) sweep() {
	for _, pattern := range []string{".criu.cgyard.*", ".cgyard.*"} {
		yards, err := filepath.Glob(filepath.Join(d.work.Name(), pattern))
		if err != nil {
			return
		}
		for _, yard := range yards {
			leaveYard(yard)
		}
	}
}

// leaveYard unmounts what is there, and in it; the directories alone may be left.
func leaveYard(yard string) {
	for _, dir := range []string{filepath.Join(yard, "unified"), yard} {
		_ = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		_ = os.Remove(dir)
	}
}

// makeYard gives CRIU the cgroup tree that is mounted, by the name under which it
// looks for it. Otherwise it mounts the tree once more, without options: these are the
// whole machine's, and nsdelegate, which keeps those inside a cgroup namespace from
// the limits of its root, would be gone from then on. For a restore it is a mount:
// CRIU's children come there by a descriptor, when their root is the container's. For
// a dump it is a link, for a mount might show up in the container.
func (d *dump) makeYard(restore bool) error {
	tree, err := cgroupv2.Detect()
	if err != nil || tree.Mount == "" {
		return err
	}
	work, err := filepath.Abs(d.work.Name())
	if err == nil {
		d.yard, err = os.MkdirTemp(work, ".cgyard.")
	}
	unified := filepath.Join(d.yard, "unified")
	switch {
	case err != nil:
	case !restore:
		err = os.Symlink(tree.Mount, unified)
	default:
		if err = os.Mkdir(unified, 0o700); err == nil {
			err = unix.Mount(tree.Mount, unified, "", unix.MS_BIND, "")
		}
	}
	if err != nil {
		return fmt.Errorf("show CRIU the cgroup tree: %w", err)
	}
	return nil
}

// lend lets the root of a container's user namespace, as which CRIU reads them
// in the end, at the images: by the directory's group, for the files may be
// read by all.
func (d *dump) lend(l *specs.Linux) (back func() error, err error) {
	var st unix.Stat_t
	fd := int(d.images.Fd())
	back = func() error { return nil }
	if len(l.GIDMappings) == 0 || !HostRoot() {
		return back, nil
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if st.Mode&0o001 != 0 {
		return back, nil
	}
	change := func(gid, mode uint32) error {
		if err := errors.Join(unix.Fchown(fd, -1, int(gid)), unix.Fchmod(fd, mode&0o7777)); err != nil {
			return fmt.Errorf("let the container's root at the checkpoint: %w", err)
		}
		return nil
	}
	return func() error { return change(st.Gid, st.Mode) }, change(hostID(l.GIDMappings), st.Mode|0o010)
}

// options are those that both directions have.
func (d *dump) options(s *specs.Spec, o CheckpointOptions, restore bool) (*rpc.CriuOpts, error) {
	mode, err := cgroupMode(s, o.Cgroups, onlyUnified())
	if err != nil {
		return nil, err
	}
	opts := &rpc.CriuOpts{
		ImagesDirFd: asked(int32(d.images.Fd())), WorkDirFd: asked(int32(d.work.Fd())),
		LogLevel: asked(int32(4)), LogFile: &d.log, NotifyScripts: asked(true), OrphanPtsMaster: asked(true),
		TcpEstablished: &o.TCPEstablished, ExtUnixSk: &o.ExtUnixSk, ShellJob: &o.ShellJob, FileLocks: &o.FileLocks,
		AutoDedup: &o.AutoDedup, LazyPages: &o.LazyPages,
		ManageCgroups: asked(mode != rpc.CriuCgMode_IGNORE), ManageCgroupsMode: &mode,
	}
	if HostRoot() && mode != rpc.CriuCgMode_IGNORE && onlyUnified() {
		if err := d.makeYard(restore); err != nil {
			return nil, err
		}
		opts.CgroupYard = &d.yard
	}
	if name := criuConfig(s); name != "" {
		opts.ConfigFile = &name
	}
	if !HostRoot() {
		opts.Unprivileged = asked(true)
	}
	if _, err := findProgram("iptables-restore", sbin); err != nil { // else its choice
		opts.NetworkLock = asked(rpc.CriuNetworkLockMethod_NFTABLES)
	}
	return opts, nil
}

// talk is a conversation about this dump.
func (d *dump) talk(told func(notice) error) *criuTalk {
	return &criuTalk{path: d.criu, told: told, patience: 5 * time.Minute, grace: 5 * time.Second, pulse: func(pid int) string {
		var size int64
		if st, err := os.Stat(filepath.Join(d.work.Name(), d.log)); err == nil {
			size = st.Size()
		}
		return fmt.Sprintf("%d %s", size, processorTime(pid))
	}}
}

// needs asks CRIU about what kernels may lack, since it would go on without.
func (d *dump) needs(ctx context.Context, o CheckpointOptions) error {
	want := &rpc.CriuFeatures{}
	if o.PreDump {
		want.MemTrack = asked(true)
	}
	if o.LazyPages {
		want.LazyPages = asked(true)
	}
	if want.MemTrack == nil && want.LazyPages == nil {
		return nil
	}
	resp, err := d.talk(nil).run(ctx, &rpc.CriuReq{Type: asked(rpc.CriuReqType_FEATURE_CHECK), Features: want})
	if err != nil {
		return fmt.Errorf("ask CRIU what this kernel has: %w", d.explain(err))
	}
	have := resp.GetFeatures()
	switch {
	case o.PreDump && !have.GetMemTrack():
		return errors.New("--pre-dump: this kernel does not track changes of memory (CONFIG_MEM_SOFT_DIRTY)")
	case o.LazyPages && !have.GetLazyPages():
		return errors.New("--lazy-pages: this kernel has no userfaultfd(2) that CRIU can use (CONFIG_USERFAULTFD)")
	}
	return nil
}

// explain adds to an error what CRIU wrote about it, and where the rest is.
func (d *dump) explain(err error) error {
	var ours *toldError
	if err == nil || errors.As(err, &ours) {
		return err
	}
	path := filepath.Join(d.work.Name(), d.log)
	data, rerr := readSmall(path)
	if rerr != nil {
		return &CRIUError{err: err}
	}
	return &CRIUError{Log: path, Why: tellingLines(string(data)), err: err}
}

// tellingLines are the last errors of a log, or else its last lines.
func tellingLines(log string) string {
	const most = 4
	var all, failed []string
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		all = append(all, line)
		if strings.Contains(line, "Error (") {
			failed = append(failed, line)
		}
	}
	if len(failed) > 0 {
		all = failed
	}
	return strings.Join(all[max(0, len(all)-most):], "; ")
}
