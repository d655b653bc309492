// Go would read the limits of its cgroup at each start, and again and again
// from a thread of its own, to choose the number of its threads.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Coracle is a rootless, single-user sandbox and container tool.
package main

import (
	"context"
	"os"
	"strings"

	"coracle/cgroupv2"
	"coracle/cgroupv2/bus"
	"coracle/fuse"
	"coracle/images/layer"
	"coracle/internal/begin"
	"coracle/internal/cli"
	_ "coracle/internal/early"
	"coracle/internal/engine"
	"coracle/internal/hire"
	_ "coracle/internal/quiet"
	"coracle/spec"
)

func main() {
	if strings.HasPrefix(os.Args[0], hire.Name) {
		conn := hire.Listen() // without systemd
		useBus()
		os.Exit(engine.MonitorMain(conn))
	}
	useBus()
	// A stage is this program again, under a name of its own in argv[0]; it
	// must not pay for a command line.
	switch os.Args[0] {
	case layer.StageName:
		os.Exit(layer.StoreMain(engine.StageHandlers()))
	case fuse.ProbeName:
		os.Exit(fuse.ProbeMain())
	case spec.CarrierName:
		os.Exit(spec.CarrierMain(os.Args[1:]))
	case engine.ChownStage:
		os.Exit(engine.ChownMain())
	case engine.FilesStage:
		os.Exit(engine.FilesMain())
	}
	if strings.HasPrefix(os.Args[0], engine.ConsoleName) {
		os.Exit(engine.ConsoleMain())
	}
	code := cli.Main(os.Args)
	hire.DismissUnused()
	begin.DismissUnused()
	os.Exit(code)
}

func useBus() {
	cgroupv2.UseBus(cgroupv2.Bus{Dial: dialSystemd, ParseValue: bus.ParseValue})
}

func dialSystemd(ctx context.Context, socket string, own bool) (cgroupv2.Systemd, error) {
	c, err := bus.Dial(ctx, socket, own)
	if err != nil {
		return nil, err // not c: a nil *Conn in an interface is not nil
	}
	return c, nil
}
