package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"coracle/images"
	"coracle/internal/engine"
	"coracle/userns"
)

// fakeEngine answers from its fields and notes what it was asked. What no test
// asks for it does not have.
type fakeEngine struct {
	members map[string][]string
	ports   []string // that each container publishes
	engineAPI

	images     []images.Listed
	containers []engine.Container
	events     []engine.Event
	checks     []engine.Check
	documents  map[string]any
	exit       engine.Exit
	looks      [][]engine.ContainerStats // of stats; nil: there is no such container
	err        error

	asked  []string
	ran    engine.RunOptions
	pull   engine.PullOptions
	copied engine.CopyOptions
	imp    engine.ImportOptions
	read   engine.LogsOptions
	req    userns.Request
}

func (f *fakeEngine) ask(words ...string) { f.asked = append(f.asked, strings.Join(words, " ")) }

func (f *fakeEngine) Run(_ context.Context, opts engine.RunOptions) (engine.Exit, error) {
	f.ran = opts
	return f.exit, f.err
}

func (f *fakeEngine) Pull(_ context.Context, name string, opts engine.PullOptions) (*images.Image, error) {
	f.ask("pull", name)
	f.pull = opts
	if opts.Progress != nil {
		w := opts.Progress("layer of "+name, 4)
		_, _ = w.Write([]byte("1234"))
		_ = w.Close()
	}
	for _, img := range f.images {
		if len(img.Names) > 0 && strings.Contains(img.Names[0], name) {
			return &images.Image{ID: img.ID, Names: img.Names, Size: img.Size, Created: img.Created}, nil
		}
	}
	return nil, notFound(name)
}

func (f *fakeEngine) Images() ([]images.Listed, error) { return f.images, f.err }

func (f *fakeEngine) Image(name string) (*images.Image, error) {
	f.ask("image", name)
	if strings.HasPrefix(name, "no-") {
		return nil, fmt.Errorf("look up %s: %w", name, images.ErrNotFound)
	}
	return &images.Image{}, f.err
}

func (f *fakeEngine) Prune(_ context.Context, o engine.PruneOptions) (engine.Pruned, error) {
	f.ask("prune", fmt.Sprintf("%+v", o))
	return engine.Pruned{Images: []string{"one", "two"}, Freed: 6000}, f.err
}

func (f *fakeEngine) RemoveImage(_ context.Context, name string, force bool) ([]string, error) {
	f.ask("rmi", name)
	if force {
		f.ask("force")
	}
	if strings.HasPrefix(name, "no-") {
		return nil, hinted{fmt.Errorf("look up %s: %w", name, images.ErrNotFound), "coracle images lists what is there"}
	}
	return []string{"Untagged: " + name}, nil
}

func (f *fakeEngine) Import(_ context.Context, src string, opts engine.ImportOptions) (*images.Image, error) {
	f.ask("import", src)
	f.imp = opts
	return &images.Image{ID: digest.FromString("imported")}, f.err
}

func (f *fakeEngine) Inspect(_ context.Context, name string, o engine.InspectOptions) (any, error) {
	f.ask("inspect", o.Kind, name)
	if o.Size {
		f.ask("size")
	}
	if doc, ok := f.documents[name]; ok {
		return doc, nil
	}
	return nil, notFound(name)
}

func (f *fakeEngine) Sandbox(_ context.Context, o engine.SandboxOptions) (engine.Exit, error) {
	f.ask(append([]string{"sandbox"}, o.Command...)...)
	return f.exit, f.err
}

func (f *fakeEngine) Unshare(_ context.Context, args []string, req userns.Request, _ engine.Stdio) (engine.Exit, error) {
	f.ask(append([]string{"unshare"}, args...)...)
	f.req = req
	return f.exit, f.err
}

func (f *fakeEngine) Doctor(context.Context) []engine.Check { return f.checks }

func (f *fakeEngine) Info(context.Context) (engine.Info, error) { return engine.Info{}, f.err }

func (f *fakeEngine) Containers() ([]engine.Container, error) { return f.containers, f.err }

func (f *fakeEngine) Sizes(_ context.Context, boxes []engine.Container) (map[string]engine.Sizes, error) {
	out := map[string]engine.Sizes{}
	for _, c := range boxes {
		out[c.ID] = engine.Sizes{RW: int64(len(c.Name)) * 1000, Root: 5_000_000}
	}
	return out, nil
}

func (f *fakeEngine) Events(_ context.Context, o engine.EventOptions, show func(engine.Event) error) error {
	f.ask("events", fmt.Sprint(o.Stream, o.Since != "", o.Until != ""), strings.Join(o.Filter, " "))
	for _, ev := range f.events {
		if err := show(ev); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fakeEngine) UpdateContainer(name string, o engine.UpdateOptions) error {
	asked := ""
	if o.Restart != nil {
		asked = o.Restart.String()
	}
	if l := o.Limits; l.Given() {
		asked += fmt.Sprintf("m=%s c=%s p=%s", l.Memory, l.CPUs, l.PidsLimit)
	}
	f.ask("update", name, asked)
	return f.err
}

func (f *fakeEngine) Stop(_ context.Context, name string, o engine.StopOptions) error {
	asked := ""
	if o.Timeout != nil {
		asked = o.Timeout.String()
	}
	if o.Signal != 0 {
		asked += fmt.Sprint(",", int(o.Signal))
	}
	f.ask("stop", name, asked)
	return nil
}

func (f *fakeEngine) Wait(context.Context, string, []string, time.Duration) (engine.Exit, error) {
	return f.exit, f.err
}

func (f *fakeEngine) Attach(context.Context, string, engine.AttachOptions) (engine.Exit, error) {
	return f.exit, f.err
}

func (f *fakeEngine) Start(context.Context, string, engine.StartOptions) (engine.Exit, error) {
	return f.exit, f.err
}

func (f *fakeEngine) Filter(words []string) (engine.Filter, error) {
	return engine.ParseFilter(words, engine.FilterWorld{
		Container: func(name string) (engine.Container, error) {
			for _, c := range f.containers {
				if c.Name == name {
					return c, nil
				}
			}
			return engine.Container{}, notFound(name)
		},
		Image:    func(name string) (*images.Image, error) { return nil, notFound(name) },
		Networks: f.Memberships,
		Now:      time.Now(),
	})
}

func (f *fakeEngine) Memberships() map[string][]string { return f.members }

func (f *fakeEngine) Logs(_ context.Context, names []string, opts engine.LogsOptions) error {
	f.ask(append([]string{"logs"}, names...)...)
	f.read = opts
	_, _ = io.WriteString(opts.Stdout, "said\n")
	_, _ = io.WriteString(opts.Stderr, "complained\n")
	return f.err
}

func (f *fakeEngine) Copy(_ context.Context, opts engine.CopyOptions) error {
	f.copied = opts
	return f.err
}

func (f *fakeEngine) Diff(_ context.Context, name, _ string) ([]engine.Change, error) {
	f.ask("diff", name)
	return []engine.Change{{Kind: "C", Path: "/etc"}, {Kind: "A", Path: "/etc/a\x1b"}, {Kind: "D", Path: "/gone"}}, f.err
}

func (f *fakeEngine) Export(_ context.Context, name string, opts engine.ExportOptions) error {
	f.ask("export", name, opts.Output)
	return f.err
}

func (f *fakeEngine) RemoveContainer(_ context.Context, name string, force, volumes bool) error {
	f.ask("rm", name)
	if force {
		f.ask("force")
	}
	if volumes {
		f.ask("volumes")
	}
	if strings.HasPrefix(name, "no-") {
		return notFound(name)
	}
	return nil
}

type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

func notFound(name string) error {
	return hinted{&fs.PathError{Op: "look up", Path: name, Err: fs.ErrNotExist}, "coracle images lists what is there"}
}

// outcome is what one command line did.
type outcome struct {
	code     int
	out, err string
}

// invoke runs a command line, given without "coracle", against the fake.
func invoke(t *testing.T, f *fakeEngine, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{
		files: [3]*os.File{os.Stdin, nil, nil},
		out:   bufio.NewWriter(&stdout),
		err:   &stderr,
		open: func(engine.Config) (engineAPI, error) {
			if f == nil {
				return nil, errors.New("the engine was opened")
			}
			return f, nil
		},
	}
	code := a.main(append([]string{"coracle"}, args...))
	return outcome{code, stdout.String(), stderr.String()}
}

// evil is what an image may call itself.
const evil = "a\x1b]0;owned\x07\nb\u202ec\x9bd"

func someImages() []images.Listed {
	now := time.Now()
	return []images.Listed{
		{ID: digest.FromString("1"), Names: []string{"docker.io/library/debian:12", "localhost:5000/deb:x"}, Size: 123456789, Created: now.Add(-72 * time.Hour)},
		{ID: digest.FromString("2"), Names: []string{"docker.io/library/alpine:latest"}, Size: 999, Created: now.Add(-time.Hour)},
		{ID: digest.FromString("3"), Size: 5_000_000_000},
	}
}

func (f *fakeEngine) Publish(name string, words []string) ([]string, error) {
	return []string{"add " + name + " " + strings.Join(words, " ")}, nil
}

func (f *fakeEngine) Unpublish(name string, words []string) ([]string, error) {
	return []string{"rm " + name + " " + strings.Join(words, " ")}, nil
}

func (f *fakeEngine) Ports(name, only string) ([]string, error) {
	f.ask("ports", name+only)
	return f.ports, nil
}

func (f *fakeEngine) Dependents(name string) ([]engine.Container, error) {
	f.ask("dependents", name)
	return nil, nil
}
