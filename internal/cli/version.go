package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	ispec "github.com/opencontainers/image-spec/specs-go"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// version is set by the build: -ldflags "-X coracle/internal/cli.version=1.2.3".
var version string

type versionCmd struct {
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`
}

// build is what `coracle version --format json` prints.
type build struct {
	Version  string    `json:"version"`
	Commit   string    `json:"commit"`
	Date     string    `json:"date"`     // of the commit
	Modified bool      `json:"modified"` // the work tree had changes
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	Spec     specs     `json:"spec"`
	Features *features `json:"features,omitempty"`
}

type specs struct {
	Runtime string `json:"runtime"`
	Image   string `json:"image"`
}

// features are for scripts that ask before they use: what this build knows,
// not what this machine can do (which `coracle info` and doctor say).
type features struct {
	Commands   []string `json:"commands"`
	Network    []string `json:"network"`
	Storage    []string `json:"storage"`
	Transports []string `json:"transports"`
	Userns     []string `json:"userns"`
	Layers     []string `json:"layers"`
}

func (*versionCmd) Help() string {
	return `  coracle version --format json
  coracle version --format '{{.spec.runtime}}'`
}

// run opens no engine: scripts call this at every turn.
func (c *versionCmd) run(a *app) (int, error) {
	b := readBuild()
	if c.Format != "" {
		b.Features = readFeatures()
	}
	if c.Format != "" && isLink(a.name) {
		return 0, a.printPeer(c.Format, peerVersion(b))
	}
	return 0, printDocument(a, c.Format, b, func() {
		fmt.Fprintf(a.out, "coracle version %s\n", b.Version)
		fmt.Fprintf(a.out, "commit: %s\n", cmp.Or(b.Commit, "unknown"))
		fmt.Fprintf(a.out, "go: %s %s\n", b.Go, b.Platform)
		fmt.Fprintf(a.out, "spec: runtime %s, image %s\n", b.Spec.Runtime, b.Spec.Image)
	})
}

func readBuild() build {
	b := build{
		Version:  version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Spec:     specs{Runtime: rspec.Version, Image: ispec.Version},
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func readFeatures() *features {
	f := &features{
		Network:    []string{"private", "builtin", "slirp4netns", "pasta", "none", "host"},
		Storage:    []string{"overlay", "fuse-overlayfs", "copy"},
		Transports: []string{"docker", "oci", "oci-archive", "docker-archive", "dir", "rootfs", "host"},
		Userns:     []string{"keep-id", "nomap", "auto", "uidmap"},
		Layers:     []string{"tar", "tar+gzip", "tar+zstd"},
	}
	for _, e := range append(commands(), ociEntry()) {
		f.Commands = append(f.Commands, e.name)
	}
	return f
}
