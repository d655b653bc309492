package engine

import (
	"context"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Info is the machine and the choices made on it, for `coracle info`.
type Info struct {
	Host     HostInfo     `json:"host"`
	Identity IdentityInfo `json:"identity"`
	Store    StoreInfo    `json:"store"`
}

// HostInfo is what we run on.
type HostInfo struct {
	OS          string   `json:"os"` // PRETTY_NAME of os-release
	Kernel      string   `json:"kernel"`
	Arch        string   `json:"arch"`
	CPUs        int      `json:"cpus"`
	Memory      uint64   `json:"memory"`              // bytes
	Container   string   `json:"container,omitempty"` // what runs around us
	Cgroup      int      `json:"cgroupVersion"`       // 0 for none
	Controllers []string `json:"cgroupControllers"`   // delegated to the caller
	Unlimited   []string `json:"unlimited"`           // default limits that containers cannot have, and why
	Security    []string `json:"security"`            // LSMs in force, seccomp
}

// IdentityInfo is the caller, and its default id map in the form of
// /proc/PID/uid_map: container id, host id, size.
type IdentityInfo struct {
	Name   string     `json:"name"`
	UID    uint32     `json:"uid"`
	GID    uint32     `json:"gid"`
	UIDMap [][3]int64 `json:"uidMap"`
	GIDMap [][3]int64 `json:"gidMap"`
}

// StoreInfo is where things are kept.
type StoreInfo struct {
	Root       string `json:"root"`
	RunRoot    string `json:"runRoot"`
	Driver     string `json:"driver"` // how roots of containers are mounted
	Filesystem string `json:"filesystem"`
	Free       uint64 `json:"free"`  // bytes
	Total      uint64 `json:"total"` // bytes
	Images     int    `json:"images"`
	Containers int    `json:"containers"`
	Running    int    `json:"running"`
}

// Info gathers it. What cannot be found out stays empty; an unusable store
// is an error.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	f := e.doctorFacts(ctx)
	if f.store != nil {
		return Info{}, f.store
	}
	info := Info{Host: hostInfo(f), Identity: identityInfo(f)}
	info.Store = StoreInfo{
		Root: e.root, RunRoot: e.runRoot, Driver: f.driver,
		Filesystem: f.filesystem.kind, Free: f.filesystem.free, Total: f.filesystem.total,
	}
	imgs, err := e.Images()
	if err != nil {
		return Info{}, err
	}
	info.Store.Images = len(imgs)
	boxes, err := e.Containers()
	if err != nil {
		return Info{}, err
	}
	info.Store.Containers = len(boxes)
	for _, b := range boxes {
		if b.Running() {
			info.Store.Running++
		}
	}
	return info, nil
}

func hostInfo(f doctorFacts) HostInfo {
	h := HostInfo{
		OS: prettyName(), Kernel: f.kernel, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Container: f.host.Container, Cgroup: f.cgroup.version, Controllers: []string{}, Security: []string{},
		Unlimited: append([]string{}, f.unlimited...),
	}
	if f.limits != nil {
		h.Unlimited = append(h.Unlimited, f.limits.Error())
	}
	if f.cgroup.writable && f.cgroup.controllers != nil {
		h.Controllers = f.cgroup.controllers
	}
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) == nil {
		h.Memory = uint64(s.Totalram) * uint64(s.Unit)
	}
	for _, l := range []struct {
		name string
		on   bool
	}{{"apparmor", f.apparmor}, {"selinux", f.host.SELinux != ""}, {"landlock", f.landlock > 0}, {"seccomp", f.seccomp == nil}} {
		if l.on {
			h.Security = append(h.Security, l.name)
		}
	}
	return h
}

func identityInfo(f doctorFacts) IdentityInfo {
	id := IdentityInfo{Name: f.id.Name, UID: f.id.UID, GID: f.id.GID, UIDMap: [][3]int64{}, GIDMap: [][3]int64{}}
	for _, e := range f.ids.Map.UIDs {
		id.UIDMap = append(id.UIDMap, [3]int64{int64(e.ContainerID), int64(e.HostID), int64(e.Size)})
	}
	for _, e := range f.ids.Map.GIDs {
		id.GIDMap = append(id.GIDMap, [3]int64{int64(e.ContainerID), int64(e.HostID), int64(e.Size)})
	}
	return id
}

func prettyName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}
