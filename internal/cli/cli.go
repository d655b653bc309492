// Package cli is the command line. A command parses its words, makes one call
// to the engine and prints what comes back; nothing else is decided here.
//
// What the user sees keeps to these rules:
//
//   - results go to stdout, everything else to stderr;
//   - a failure reads `error: <what was being done, to what>: <why>`, followed
//     by `hint: <what to type>` where something can be done;
//   - our own failures exit with 125; run and unshare hand on the payload's code;
//   - nothing that comes from an image, a registry or a file is printed with
//     its control characters (escape.go).
package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"

	"coracle/internal/engine"
	"coracle/internal/oci"
)

// exitOurs is the exit code of our own failures, as docker's and podman's.
const exitOurs = 125

// Main runs one command line, args[0] included, and returns its exit code.
func Main(args []string) int {
	// net/http writes there what a server sends unasked; coracle itself, nothing.
	log.SetOutput(io.Discard)
	a := &app{
		files:  [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
		out:    bufio.NewWriter(os.Stdout),
		err:    os.Stderr,
		open:   openEngine,
		places: configPlaces,
	}
	return a.main(args)
}

// app is what commands share: where they read and print, the global flags,
// and the way to the engine, which only the commands that need it open.
type app struct {
	name   string      // what the program was called by
	files  [3]*os.File // for payloads, which need descriptors
	out    *bufio.Writer
	err    io.Writer
	global globals
	open   func(engine.Config) (engineAPI, error)
	logs   logs
	places func(named string) []string // of configuration files; nil: none
	config *config                     // once the command's words are parsed
	typed  []string                    // its flags, as --name=value, without what the files say
	hushed bool                        // --log-level error of a link: no warnings
	oci    *oci.Globals                // of `coracle oci`, nil for other commands
}

// globals are accepted before the command and among its flags.
type globals struct {
	Root            string   `group:"Global flags" placeholder:"DIR" help:"Images and containers (default: $XDG_DATA_HOME/coracle)."`
	RunRoot         string   `group:"Global flags" name:"runroot" placeholder:"DIR" help:"State of this boot (default: $XDG_RUNTIME_DIR/coracle)."`
	AdditionalStore []string `group:"Global flags" name:"additional-store" sep:"none" placeholder:"DIR" help:"A store of images that is read, too, and never written; may be repeated."`
	LayerLimit      []string `group:"Global flags" name:"layer-limit" sep:"none" placeholder:"KIND=N" help:"What one layer may unpack to: bytes=256g, entries=10000000, ratio=200 times its compressed size (KIND=none: anything); may be repeated."`
	StorageDriver   string   `group:"Global flags" name:"storage-driver" placeholder:"NAME" enum:",overlay,fuse-overlayfs,copy" default:"" help:"overlay, fuse-overlayfs or copy, instead of what probing finds."`
	CgroupManager   string   `group:"Global flags" name:"cgroup-manager" placeholder:"NAME" enum:",auto,systemd,cgroupfs,disabled" default:"" help:"Who makes containers' cgroups: auto, systemd (a scope for each), cgroupfs (directories) or disabled."`
	Debug           bool     `group:"Global flags" help:"Show what is done, and the whole chain of an error."`
	Log             string   `group:"Global flags" placeholder:"FILE" help:"Append the log to FILE instead of stderr."`
	Config          string   `group:"Global flags" placeholder:"FILE" help:"Read the defaults of flags from FILE only; none: from no file."`
	LogFormat       string   `group:"Global flags" name:"log-format" placeholder:"FMT" enum:"text,json" default:"text" help:"text or json."`
}

func (a *app) main(args []string) int {
	defer a.logs.close()
	dispatch := a.dispatch
	a.name = baseName(args)
	if len(args) > 0 && a.name == ociName {
		dispatch = a.ociMain
	}
	code, err := dispatch(args[min(1, len(args)):])
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write the output: %w", flushErr)
	}
	if err != nil {
		a.printError(err)
		if code == 0 || code == exitOurs {
			code = exitCode(err) // 126 and 127 travel in the error
		}
	}
	return code
}

// dispatch finds the command and gives it the rest of the line. The grammar
// is built for this one command only: for all of them it would cost
// milliseconds at every start.
func (a *app) dispatch(args []string) (int, error) {
	if isLink(a.name) {
		var err error
		if args, err = a.linkFlags(args); err != nil {
			return exitOurs, err
		}
	}
	lead, err := splitVerb(args)
	if err == nil && lead.verb == "help" && len(lead.rest) > 0 && lead.rest[0] != "oci" {
		lead.verb, lead.rest = lead.rest[0], append(lead.rest[1:len(lead.rest):len(lead.rest)], "--help")
	}
	if err == nil {
		err = lead.secondWord()
	}
	if err != nil {
		return exitOurs, err
	}
	f, isFamily := findFamily(lead.verb)
	switch {
	case lead.version:
		fmt.Fprintf(a.out, "coracle version %s\n", readBuild().Version)
		return 0, nil
	case lead.verb == manVerb:
		return a.manMain(lead.rest)
	case lead.verb == completeVerb:
		return a.completeMain(lead.rest)
	case lead.verb == "oci":
		return a.ociMain(append(lead.flags, lead.rest...))
	case lead.verb == "help" && len(lead.rest) > 0 && lead.rest[0] == "oci":
		return a.ociMain(append([]string{"help"}, lead.rest[1:]...))
	case isFamily && lead.help:
		f.writeHelp(a.out)
		return 0, nil
	case isFamily:
		f.writeHelp(a.err)
		return exitOurs, nil
	case lead.help || lead.verb == "help":
		writeOverview(a.out)
		return 0, nil
	case lead.verb == "":
		writeOverview(a.err)
		return exitOurs, nil
	}
	e, err := findCommand(lead.verb)
	if err != nil {
		return exitOurs, err
	}
	cmd := e.make()
	if l, ok := cmd.(interface {
		linked(name string) (command, bool)
	}); ok {
		if other, differs := l.linked(a.name); differs {
			cmd = other // the link's namesake has flags of other meanings
		}
	}
	p := newParser(e, cmd, &a.global)
	p.defaults = a.defaults
	words := slices.Concat(p.takeHidden(lead.flags), impliedFlags(lead.verb), lead.rest)
	help, err := p.parse(words)
	if err != nil {
		return exitOurs, err
	}
	if help {
		return 0, p.writeHelp(a.out)
	}
	if box, ok := cmd.(*sandboxCmd); ok && len(box.Result.Args) > 0 {
		if cmd, err = a.again(e, box, words); err != nil {
			return exitOurs, err
		}
	}
	if err := a.logs.open(a.global, a.err); err != nil {
		return exitOurs, err
	}
	code, err := cmd.run(a)
	return code, ofContainer(lead.verb, err)
}

// again parses the words of a sandbox with what its --args have put among them.
func (a *app) again(e entry, box *sandboxCmd, words []string) (command, error) {
	words, err := box.expand(words)
	if err != nil {
		return nil, err
	}
	cmd := e.make()
	p := newParser(e, cmd, &a.global)
	p.defaults = a.defaults
	_, err = p.parse(words)
	return cmd, err
}

// engine opens the engine with the global flags.
func (a *app) engine() (engineAPI, error) {
	limits, err := layerLimits(a.global.LayerLimit)
	if err != nil {
		return nil, err
	}
	return a.open(engine.Config{
		Root:             a.global.Root,
		RunRoot:          a.global.RunRoot,
		AdditionalStores: a.global.AdditionalStore,
		LayerLimits:      limits,
		StorageDriver:    a.global.StorageDriver,
		CgroupManager:    a.global.CgroupManager,
		Warn:             a.warn,
	})
}

// interruptible is the context of work that the first ^C ends in order, and
// the second at once. run and unshare do not use it: there the payload gets
// the signals.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
