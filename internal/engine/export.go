package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/internal/foreground"
)

// ExportOptions are one `coracle export`.
type ExportOptions struct {
	Output string // a file; "" for Stdout
	Stdout *os.File
}

// Export writes a container's root as a tar stream, with ids as they are inside
// and without what is mounted in it.
func (e *Engine) Export(ctx context.Context, name string, o ExportOptions) error {
	if o.Output == "" && foreground.IsTerminal(o.Stdout) {
		return &Error{Err: errors.New("refusing to write a tar stream to a terminal"), Help: "coracle export -o FILE.tar " + name}
	}
	v, err := e.openFiles(ctx, name, true)
	if err != nil {
		return err
	}
	defer v.close()
	if o.Output == "" {
		return v.export(ctx, e, o.Stdout)
	}
	return writeWhole(o.Output, "export container "+v.c.Name, func(f *os.File) error { return v.export(ctx, e, f) })
}

func (v *filesView) export(ctx context.Context, e *Engine, to *os.File) error {
	reply, err := v.call(filesRequest{Op: "out", Path: "/", Pack: packOptions{As: ".", Whole: true}}, to)
	for _, n := range reply.Notes {
		e.warn(n, "")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("export container %s: %w", v.c.Name, err)
	}
	return nil
}
