package cli

import (
	"context"

	"coracle/images"
	"coracle/internal/engine"
	"coracle/userns"
)

// engineAPI is what the commands ask of the engine; the tests put a fake in
// its place.
type engineAPI interface {
	Run(ctx context.Context, opts engine.RunOptions) (engine.Exit, error)
	Pull(ctx context.Context, name string, opts engine.PullOptions) (*images.Image, error)
	Images() ([]images.Image, error)
	RemoveImage(ctx context.Context, name string, force bool) ([]string, error)
	Import(ctx context.Context, src string, opts engine.ImportOptions) (*images.Image, error)
	Inspect(name, kind string) (any, error)
	Unshare(ctx context.Context, args []string, req userns.Request, stdio engine.Stdio) (engine.Exit, error)
	Doctor(ctx context.Context) []engine.Check
	Info(ctx context.Context) (engine.Info, error)
	Containers() ([]engine.Container, error)
	RemoveContainer(ctx context.Context, name string, force bool) error
}

func openEngine(c engine.Config) (engineAPI, error) {
	e, err := engine.Open(c)
	if err != nil {
		return nil, err // not e: a nil *Engine in an interface is not nil
	}
	return e, nil
}
