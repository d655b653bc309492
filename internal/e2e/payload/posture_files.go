package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// filePostures try to read, and to change, what is not the command's. Whether a file
// of the host's has changed is for the script to see: those here only write.
func filePostures() []posture {
	reads := func(name, path string) posture {
		return posture{"5", name, func(f facts) string {
			data, err := os.ReadFile(f["home"] + path)
			return got(err, strings.TrimSpace(string(data)))
		}}
	}
	return []posture{
		{"3", "launcher-executable", launcherExe},
		{"4", "inherited-descriptors", inherited},
		reads("ssh-key", "/.ssh/id_test"), reads("cloud-key", "/.aws/credentials"), reads("browser-profile", "/.mozilla/firefox/p/cookies.sqlite"),
		{"5", "other-project", func(f facts) string {
			data, err := os.ReadFile(f["home"] + "/other/plan")
			return got(err, string(data))
		}},
		{"5", "environ-of-host-processes", func(f facts) string { return inProc("environ", "VICTIM="+f["mark"]) }},
		{"23", "secret-in-environment", func(f facts) string { return os.Getenv("TOKEN") }},
		{"23", "secret-of-launcher", func(f facts) string {
			return strings.TrimSpace(inProc("environ", "LAUNCHED="+f["mark"]) + inProc("cmdline", "hidden-"+f["mark"]))
		}},
		{"8", "device-node", func(f facts) string {
			return got(unix.Mknod(f["cwd"]+"/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))), "made a disk")
		}},
		{"8", "capability-in-file", func(f facts) string {
			data := []byte{1, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			return got(unix.Setxattr(f["cwd"]+"/plain", "security.capability", data, 0), "set it")
		}},
		{"10", "remount-writable", func(facts) string {
			return got(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""), "remounted /")
		}},
		{"10", "unmount-masks", func(facts) string {
			for _, dir := range []string{"/run", "/tmp", "/proc", "/dev", "/sys"} {
				if unix.Unmount(dir, unix.MNT_DETACH) == nil {
					return "unmounted " + dir
				}
			}
			return ""
		}},
		{"16", "kernel-settings", func(facts) string {
			return writable("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/sys/vm/overcommit_memory")
		}},
		{"16", "cgroup-files", cgroupFiles},
	}
}

// launcherExe opens the executables of processes that are seen, and looks for the
// launcher's among them: it could be written to once that has ended.
func launcherExe(f facts) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		fd, err := unix.Open(dir+"/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil && strconv.FormatUint(st.Ino, 10) == f["launcher"] {
			return "holds the launcher, by " + dir + "/exe"
		}
	}
	return ""
}

// inherited finds descriptors that nobody meant for the command.
func inherited(facts) string {
	var out []string
	for fd := 3; fd <= 20; fd++ {
		name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if flags, e := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); e != nil || flags&unix.FD_CLOEXEC != 0 || err != nil || strings.HasPrefix(name, "anon_inode:") {
			continue
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// inProc finds the processes with a file in /proc that holds want.
func inProc(file, want string) string {
	names, _ := filepath.Glob("/proc/[0-9]*/" + file)
	for _, name := range names {
		if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte(want)) && !strings.HasPrefix(name, "/proc/"+strconv.Itoa(os.Getpid())+"/") && !ours(data) {
			return name
		}
	}
	return ""
}

// ours says whether these are the arguments of an attempt, which name the mark, too.
func ours(data []byte) bool { return bytes.Contains(data, []byte("\x00posture\x00")) }

func writable(names ...string) string {
	for _, name := range names {
		if fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
			return name
		}
	}
	return ""
}

// cgroupFiles finds one that can be written to, not far down.
func cgroupFiles(facts) string {
	for _, pattern := range []string{"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/*/cgroup.procs", "/sys/fs/cgroup/*/*/cgroup.procs", "/sys/fs/cgroup/*/*/*/cgroup.procs"} {
		names, _ := filepath.Glob(pattern)
		if name := writable(names...); name != "" {
			return name
		}
	}
	return ""
}

// spoil writes to what other programs execute later, and where nothing is to be
// written. Each may fail.
//
//	spoil CWD HOME OTHER
func spoil(args []string) error {
	cwd, home, other := args[0], args[1], args[2]
	for _, name := range []string{
		cwd + "/.git/hooks/pre-commit", cwd + "/.git/config", cwd + "/nested/.git/hooks/pre-commit", cwd + "/nested/.git/config", cwd + "/.envrc", cwd + "/.vscode/tasks.json",
		home + "/.bashrc", home + "/.profile", home + "/.config/autostart/x.desktop", other + "/file",
	} {
		_ = os.MkdirAll(filepath.Dir(name), 0o755)
		if f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o755); err == nil {
			_, _ = f.WriteString("spoiled\n")
			f.Close()
		}
	}
	if f, err := os.OpenFile("/proc/self/fd/0", os.O_WRONLY|os.O_APPEND, 0); err == nil { // given for reading
		_, _ = f.WriteString("spoiled\n")
		f.Close()
	}
	_ = os.Rename(cwd+"/second/.git", cwd+"/second/.git2")
	if os.Link(home+"/ro/file", cwd+"/linked") == nil {
		_ = os.WriteFile(cwd+"/linked", []byte("spoiled\n"), 0o644)
	}
	if os.Link(cwd+"/.git/config", cwd+"/linked2") == nil {
		_ = os.WriteFile(cwd+"/linked2", []byte("spoiled\n"), 0o644)
	}
	_ = os.WriteFile(cwd+"/set", []byte("#!/bin/sh\n"), 0o755)
	_ = os.Chmod(cwd+"/set", 0o4755|os.ModeSetuid)
	_ = syscall.Chmod(cwd+"/set", 0o4755)
	_ = os.RemoveAll(home + "/other")
	_ = os.Remove(cwd + "/README")
	return nil
}
