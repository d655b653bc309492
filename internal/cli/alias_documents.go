package cli

import (
	"runtime"
	"strings"

	"coracle/internal/engine"
)

// What scripts ask `docker version` and `podman info` for by template. The keys
// are theirs, the values are true of this program; what it has no counterpart
// for is left out.

type peerBuild struct {
	Version, GoVersion, GitCommit, BuiltTime, Os, Arch, OsArch string
}

type peerVersionDocument struct {
	Client peerBuild
	// The engine is the program itself.
	Server peerBuild
}

// printPeer prints a document as printDocument does; templates name the fields.
func (a *app) printPeer(format string, doc any) error {
	if format == "json" {
		return writeJSON(a.out, doc)
	}
	tmpl, err := parseTemplate(format)
	if err != nil {
		return err
	}
	return execute(a.out, tmpl, doc)
}

func peerVersion(b build) peerVersionDocument {
	goos, arch, _ := strings.Cut(b.Platform, "/")
	p := peerBuild{Version: b.Version, GoVersion: b.Go, GitCommit: b.Commit, BuiltTime: b.Date, Os: goos, Arch: arch, OsArch: b.Platform}
	return peerVersionDocument{p, p}
}

// peerInfo is the document of `info` under a link's name.
func (a *app) peerInfo(i engine.Info) any {
	i.Host.OS, i.Host.Kernel = visible(i.Host.OS), visible(i.Host.Kernel)
	i.Store.Root, i.Store.RunRoot, i.Store.Driver = visible(i.Store.Root), visible(i.Store.RunRoot), visible(i.Store.Driver)
	if a.name == "docker" {
		return dockerInfoOf(i, readBuild().Version)
	}
	return podmanInfoOf(i, readBuild())
}

type dockerInfo struct {
	ServerVersion                                                      string
	OperatingSystem, KernelVersion, OSType, Architecture               string
	NCPU                                                               int
	MemTotal                                                           uint64
	Driver, DockerRootDir                                              string
	Containers, ContainersRunning, ContainersPaused, ContainersStopped int
	Images                                                             int
	CgroupVersion                                                      string
	SecurityOptions                                                    []string
}

func dockerInfoOf(i engine.Info, version string) dockerInfo {
	d := dockerInfo{
		ServerVersion: version, OperatingSystem: i.Host.OS, KernelVersion: i.Host.Kernel, OSType: "linux", Architecture: machine(i.Host.Arch),
		NCPU: i.Host.CPUs, MemTotal: i.Host.Memory, Driver: i.Store.Driver, DockerRootDir: i.Store.Root,
		Containers: i.Store.Containers, ContainersRunning: i.Store.Running, ContainersStopped: i.Store.Containers - i.Store.Running,
		Images: i.Store.Images, CgroupVersion: cgroupVersion(i.Host.Cgroup, "2"), SecurityOptions: []string{"name=rootless"},
	}
	for _, s := range i.Host.Security {
		d.SecurityOptions = append(d.SecurityOptions, "name="+s)
	}
	return d
}

type podmanInfo struct {
	Host struct {
		Arch            string `json:"arch"`
		OS              string `json:"os"`
		Kernel          string `json:"kernel"`
		CPUs            int    `json:"cpus"`
		MemTotal        uint64 `json:"memTotal"`
		CgroupsVersion  string `json:"cgroupVersion"`
		ServiceIsRemote bool   `json:"serviceIsRemote"`
		Security        struct {
			Rootless        bool `json:"rootless"`
			AppArmorEnabled bool `json:"apparmorEnabled"`
			SELinuxEnabled  bool `json:"selinuxEnabled"`
			SECCOMPEnabled  bool `json:"seccompEnabled"`
		} `json:"security"`
	} `json:"host"`
	Store struct {
		GraphDriverName string `json:"graphDriverName"`
		GraphRoot       string `json:"graphRoot"`
		RunRoot         string `json:"runRoot"`
		ContainerStore  struct {
			Number  int `json:"number"`
			Running int `json:"running"`
			Stopped int `json:"stopped"`
		} `json:"containerStore"`
		ImageStore struct {
			Number int `json:"number"`
		} `json:"imageStore"`
	} `json:"store"`
	Version struct {
		Version   string `json:"Version"`
		GoVersion string `json:"GoVersion"`
		GitCommit string `json:"GitCommit"`
		OsArch    string `json:"OsArch"`
	} `json:"version"`
}

func podmanInfoOf(i engine.Info, b build) podmanInfo {
	var p podmanInfo
	p.Host.Arch, p.Host.OS, p.Host.Kernel, p.Host.CPUs, p.Host.MemTotal = i.Host.Arch, "linux", i.Host.Kernel, i.Host.CPUs, i.Host.Memory
	p.Host.CgroupsVersion = cgroupVersion(i.Host.Cgroup, "v2")
	p.Host.Security.Rootless = i.Identity.UID != 0
	for _, s := range i.Host.Security {
		switch s {
		case "apparmor":
			p.Host.Security.AppArmorEnabled = true
		case "selinux":
			p.Host.Security.SELinuxEnabled = true
		case "seccomp":
			p.Host.Security.SECCOMPEnabled = true
		}
	}
	p.Store.GraphDriverName, p.Store.GraphRoot, p.Store.RunRoot = i.Store.Driver, i.Store.Root, i.Store.RunRoot
	p.Store.ContainerStore.Number, p.Store.ContainerStore.Running = i.Store.Containers, i.Store.Running
	p.Store.ContainerStore.Stopped = i.Store.Containers - i.Store.Running
	p.Store.ImageStore.Number = i.Store.Images
	p.Version.Version, p.Version.GoVersion, p.Version.GitCommit, p.Version.OsArch = b.Version, b.Go, b.Commit, b.Platform
	return p
}

// cgroupVersion is v2 in the peer's spelling where limits work, else the 1 that
// scripts take for "no limits".
func cgroupVersion(version int, v2 string) string {
	if version == 2 {
		return v2
	}
	return strings.Replace(v2, "2", "1", 1)
}

// machine is uname's word for the architecture, which docker's info has.
func machine(arch string) string {
	switch arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "":
		return runtime.GOARCH
	}
	return arch
}
