package cli

import (
	"context"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"coracle/images"
	"coracle/internal/engine"
	"coracle/userns"
)

// engineAPI is what the commands ask of the engine; the tests put a fake in
// its place.
type engineAPI interface {
	Run(ctx context.Context, opts engine.RunOptions) (engine.Exit, error)
	Pull(ctx context.Context, name string, opts engine.PullOptions) (*images.Image, error)
	Images() ([]images.Listed, error)
	RemoveImage(ctx context.Context, name string, force bool) ([]string, error)
	Commit(ctx context.Context, name string, opts engine.CommitOptions) (*images.Image, error)
	Unpack(ctx context.Context, image, dir string, opts engine.UnpackOptions) error
	MountImage(ctx context.Context, image string) (engine.ImageMount, error)
	ImageMounts() ([]engine.ImageMount, error)
	UnmountImage(image string, force bool) (digest.Digest, error)
	Pack(ctx context.Context, dir string, opts engine.NewImage) (*images.Image, error)
	Import(ctx context.Context, src string, opts engine.ImportOptions) (*images.Image, error)
	Inspect(ctx context.Context, name string, o engine.InspectOptions) (any, error)
	UpdateContainer(name string, o engine.UpdateOptions) error
	Sandbox(ctx context.Context, o engine.SandboxOptions) (engine.Exit, error)
	Unshare(ctx context.Context, args []string, req userns.Request, stdio engine.Stdio) (engine.Exit, error)
	Doctor(ctx context.Context) []engine.Check
	Info(ctx context.Context) (engine.Info, error)
	Containers() ([]engine.Container, error)
	Filter(words []string) (engine.Filter, error)
	Memberships() map[string][]string
	Events(ctx context.Context, o engine.EventOptions, show func(engine.Event) error) error
	Sizes(ctx context.Context, boxes []engine.Container) (map[string]engine.Sizes, error)
	Create(ctx context.Context, opts engine.RunOptions) (engine.Container, error)
	RunDetached(ctx context.Context, opts engine.RunOptions) (engine.Container, error)
	Start(ctx context.Context, name string, opts engine.StartOptions) (engine.Exit, error)
	Attach(ctx context.Context, name string, opts engine.AttachOptions) (engine.Exit, error)
	Exec(ctx context.Context, name string, opts engine.ExecOptions) (engine.Exit, error)
	ExecDetached(ctx context.Context, name string, opts engine.ExecOptions) (id string, err error)
	Stats(ctx context.Context, o engine.StatsOptions) ([]engine.ContainerStats, error)
	Top(ctx context.Context, name string, words []string) ([][]string, error)
	Stop(ctx context.Context, name string, o engine.StopOptions) error
	Kill(ctx context.Context, name string, sig syscall.Signal) error
	RestartContainer(ctx context.Context, name string, o engine.StopOptions) error
	Pause(ctx context.Context, name string) error
	Unpause(name string) error
	Wait(ctx context.Context, name string, states []string, every time.Duration) (engine.Exit, error)
	CheckHealth(ctx context.Context, name string) (engine.Health, error)
	Rename(ctx context.Context, name, to string) error
	Logs(ctx context.Context, names []string, opts engine.LogsOptions) error
	Copy(ctx context.Context, opts engine.CopyOptions) error
	Diff(ctx context.Context, name, other string) ([]engine.Change, error)
	Export(ctx context.Context, name string, opts engine.ExportOptions) error
	Dependents(name string) ([]engine.Container, error)
	Ports(name, only string) ([]string, error)
	Publish(name string, words []string) ([]string, error)
	Unpublish(name string, words []string) ([]string, error)
	RemoveContainer(ctx context.Context, name string, force, volumes bool) error

	imageAPI
	volumeAPI
	networkAPI
	systemAPI
	secretAPI
}

func openEngine(c engine.Config) (engineAPI, error) {
	e, err := engine.Open(c)
	if err != nil {
		return nil, err // not e: a nil *Engine in an interface is not nil
	}
	return e, nil
}
