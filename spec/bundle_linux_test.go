package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// need skips a test that this machine cannot run; in CI that is a failure.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CORACLE_MUST_WORK") != "" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// realHost is this machine.
type realHost struct{}

func (realHost) Getenv() []string                   { return os.Environ() }
func (realHost) Getwd() (string, error)             { return os.Getwd() }
func (realHost) ReadFile(p string) ([]byte, error)  { return os.ReadFile(p) }
func (realHost) Hostname() string                   { n, _ := os.Hostname(); return n }
func (realHost) CgroupV2() bool                     { return false } // the runtimes get no cgroup here
func (realHost) Now() time.Time                     { return time.Now() }
func (h realHost) Lstat(p string) (FileInfo, error) { return statWith(unix.Lstat, p) }
func (h realHost) Stat(p string) (FileInfo, error)  { return statWith(unix.Stat, p) }

func statWith(call func(string, *unix.Stat_t) error, p string) (FileInfo, error) {
	var st unix.Stat_t
	if err := call(p, &st); err != nil {
		return FileInfo{}, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	return FileInfo{Mode: st.Mode, UID: st.Uid, GID: st.Gid}, nil
}

func (realHost) ReadDir(p string) (names []string, err error) {
	entries, err := os.ReadDir(p)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (realHost) Rlimit(name string) (soft, hard uint64, err error) {
	var l unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Cur, l.Max, err
}

type dirRoot string

func (r dirRoot) ReadFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(r), name)) // a root of the test's own making
}

// firstID is the host id of the container's root in these tests: whoever
// runs the runtimes has no right on the host.
const firstID = 362144

// bundle is a root with busybox, and a place for config.json.
type bundle struct{ dir, rootfs, files string }

func newBundle(t *testing.T) bundle {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to write an id map of 65536 ids")
	busybox, err := exec.LookPath("busybox")
	need(t, err == nil, "busybox-static")
	dir, err := os.MkdirTemp("", "coracle-bundle-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := bundle{dir, filepath.Join(dir, "rootfs"), filepath.Join(dir, "files")}
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "run", "var/tmp", "root", "home/alice"} {
		if err := os.MkdirAll(filepath.Join(b.rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "cp", busybox, filepath.Join(b.rootfs, "bin/busybox")).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for _, d := range []string{"state-runc", "state-crun", "files", "data/below"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string]string{
		"rootfs/etc/passwd": imagePasswd, "rootfs/etc/group": strings.ReplaceAll(imageGroup, "900000", "60000"), "data/hello": "hello\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// write generates the bundle and gives everything to the container's root.
func (b bundle) write(t *testing.T, o Options, maps []specs.LinuxIDMapping) Result {
	t.Helper()
	if o.Network == "" {
		o.Network = "none"
	}
	res, err := Generate(Input{
		ID: strings.Repeat("c0ffee00", 8), Name: "test", Options: o, Root: dirRoot(b.rootfs), Host: realHost{},
		Image:   ImageConfig{Entrypoint: []string{"/bin/busybox", "sh", "-c"}, Env: []string{"FROM=image"}, User: "alice"},
		RootDir: b.rootfs, Files: b.files, UIDMap: maps, GIDMap: maps,
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(res.Spec)
	if err != nil {
		t.Fatal(err)
	}
	res.Files["../config.json"] = data
	for name, data := range res.Files {
		if err := os.WriteFile(filepath.Join(b.files, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range res.Overlays {
		for _, d := range []string{o.Upper, o.Work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", fmt.Sprintf("%d:%d", firstID, firstID), b.dir).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	return res
}

// run starts a runtime in a user namespace of its own, as podman and
// `coracle unshare` do, and gives what the payload printed.
func (b bundle) run(t *testing.T, runtime string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := b.command(t, runtime)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := runUnified(cmd); err != nil {
		t.Fatalf("%s: %v\n%s%s", runtime, err, &out, &errs)
	}
	return out.String()
}

func (b bundle) command(t *testing.T, runtime string) *exec.Cmd {
	t.Helper()
	file, err := exec.LookPath(runtime)
	need(t, err == nil, runtime)
	args := []string{"--root", filepath.Join(b.dir, "state-"+runtime), "run", "--bundle", b.dir, "test-" + runtime}
	if runtime == "crun" {
		args = append([]string{"--cgroup-manager=disabled"}, args...)
	}
	cmd := exec.CommandContext(t.Context(), file, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + b.dir}
	cmd.Dir = "/"
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: maps, GidMappings: maps,
		GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
	}
	return cmd
}

// runUnified runs a command where /sys/fs/cgroup is version 2 alone: crun
// refuses the hybrid that some machines have.
func runUnified(cmd *exec.Cmd) error {
	result := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends with its mount namespace
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")
		}
		if err == nil {
			err = cmd.Run()
		}
		result <- err
	}()
	return <-result
}

// report is what the payload tells of itself: things that both runtimes must
// make alike.
const report = `b=/bin/busybox
echo "id $($b id)"; echo "pwd $PWD"; $b env | $b sort | $b grep -v -e SHLVL -e PWD | $b sed 's/^/env /'
$b grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
$b awk '{ print "mount", $5, $6 }' /proc/self/mountinfo | $b sort
echo "hostname $($b hostname)"; $b sed 's/^/hosts /' /etc/hosts; echo "umask $(umask)"; echo "nofile $(ulimit -n)"
$b stat -c 'dev %n %F %a' /dev/null /dev/ptmx /dev/shm /dev/fd /dev/stdin
echo "score $($b cat /proc/self/oom_score_adj)"
`

// cases are bundles that both runtimes run; want are lines of the report.
func bundleCases(b bundle) map[string]struct {
	options Options
	want    []string
} {
	script := func(o Options) Options {
		if o.Args == nil {
			o.Args = []string{report}
		}
		return o
	}
	return map[string]struct {
		options Options
		want    []string
	}{
		"image's user": {script(Options{}), []string{
			"id uid=1000(alice) gid=1001(alice) groups=10(wheel),29(audio),1001(alice),60000(far)",
			"env FROM=image", "env HOME=/home/alice", "env HOSTNAME=c0ffee00c0ff", "env container=coracle",
			"hostname c0ffee00c0ff", "hosts 127.0.0.1\tc0ffee00c0ff test", "umask 0022", "pwd /", "CapEff:\t0000000000000000",
			"NoNewPrivs:\t0", "Seccomp:\t2", "dev /dev/null character special file 666",
		}},
		"root with flags": {script(Options{
			User: "0", Workdir: "/home", Hostname: "otter", Env: []string{"A=b"}, Umask: "077", CapDrop: []string{"ALL"}, CapAdd: []string{"CHOWN"},
			Ulimits: []string{"nofile=100:200"}, SecurityOpt: []string{"no-new-privileges", "seccomp=unconfined"}, OOMScoreAdj: ptr(700),
			Sysctl: []string{"net.ipv4.ip_unprivileged_port_start=0"},
		}), []string{
			"id uid=0(root) gid=0(root) groups=10(wheel)", "env A=b", "env HOME=/root", "hostname otter", "umask 0077", "pwd /home",
			"CapEff:\t0000000000000001", "CapBnd:\t0000000000000001", "CapInh:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t0", "nofile 100", "score 700",
		}},
		"a number with a capability": {script(Options{User: "78:88", CapAdd: []string{"NET_ADMIN"}, GroupAdd: []string{"99"}}), []string{
			"id uid=78(78) gid=88(88) groups=88(88),99", "CapEff:\t0000000000001000", "CapAmb:\t0000000000001000", "env HOME=/",
		}},
		"volumes": {Options{
			User: "0", Volumes: []string{b.dir + "/data:/data:ro", b.dir + "/data:/cow:O"}, Tmpfs: []string{"/t:size=1m,mode=711"}, Devices: []string{"/dev/zero:/dev/nothing"},
			Args: []string{`cd /; /bin/busybox cat /data/hello; echo x 2>/dev/null >/data/hello || echo refused; echo changed >/cow/hello; /bin/busybox cat /cow/hello
/bin/busybox stat -c '%n %a' /t; /bin/busybox head -c 3 /dev/nothing | /bin/busybox wc -c`},
		}, []string{"hello", "refused", "changed", "/t 711", "3"}},
		"read-only": {Options{
			User: "0", ReadOnly: true, Args: []string{`for d in / /etc /tmp /run /var/tmp /dev/shm; do echo x 2>/dev/null >$d/f && echo "$d writable" || echo "$d refused"; done`},
		}, []string{"/ refused", "/etc refused", "/tmp writable", "/run writable", "/var/tmp writable", "/dev/shm writable"}},
		"read-only all": {Options{
			User: "0", ReadOnly: true, ReadOnlyTmpfs: ptr(false), Args: []string{`for d in /tmp /dev /dev/shm; do echo x 2>/dev/null >$d/f && echo "$d writable" || echo "$d refused"; done; echo null >/dev/null && echo fine`},
		}, []string{"/tmp refused", "/dev refused", "/dev/shm refused", "fine"}},
		"host's namespaces": {Options{
			User: "0", PID: "host", IPC: "host", UTS: "host", Network: "host", Args: []string{`/bin/busybox test -d /proc/1 && echo proc; /bin/busybox test -d /sys/class && echo sys; /bin/busybox mount | /bin/busybox grep -c /dev/shm`},
		}, []string{"proc", "sys", "1"}},
		"privileged": {Options{User: "0", Privileged: true, Args: []string{`/bin/busybox grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status`}}, []string{
			"Seccomp:\t0", "CapEff:\t000001ffffffffff",
		}},
	}
}

// The same config.json, unchanged, must be what runc and crun accept, and
// must make the same container of it.
func TestBundlesRunWithRuncAndCrun(t *testing.T) {
	b := newBundle(t)
	for name := range bundleCases(b) {
		for kind, maps := range map[string][]specs.LinuxIDMapping{
			"": nil, ", nested": {{ContainerID: 0, HostID: 0, Size: 65536}},
		} {
			t.Run(name+kind, func(t *testing.T) {
				b := newBundle(t)
				c := bundleCases(b)[name]
				b.write(t, c.options, maps)
				for _, runtime := range []string{"runc", "crun"} {
					out := b.run(t, runtime)
					for _, line := range c.want {
						if !slices.Contains(strings.Split(out, "\n"), line) {
							t.Errorf("%s: no line %q in\n%s", runtime, line, out)
						}
					}
				}
			})
		}
	}
}

// With -t the runtime makes the pty and /dev/console.
func TestTerminalBundle(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		b := newBundle(t)
		b.write(t, Options{TTY: true, User: "0", Args: []string{
			`b=/bin/busybox; $b test -t 0 && $b test -t 1 && echo is a tty; $b tty; $b test -c /dev/console && echo console; echo TERM is $TERM`,
		}}, nil)
		master, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		cmd := b.command(t, runtime)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		printed := make(chan string)
		go func() {
			data, _ := io.ReadAll(master) // ends with EIO when the last slave is closed
			printed <- string(data)
		}()
		err = runUnified(cmd)
		tty.Close()
		out := <-printed
		master.Close()
		if err != nil {
			t.Errorf("%s: %v\n%s", runtime, err, out)
		}
		for _, line := range []string{"is a tty", "/dev/pts/0", "console", "TERM is xterm"} {
			if !strings.Contains(out, line+"\r\n") {
				t.Errorf("%s: no line %q in %q", runtime, line, out)
			}
		}
	}
}
