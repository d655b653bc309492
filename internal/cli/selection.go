package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"coracle/internal/engine"
)

// selection is how the commands that act on several containers are told which.
type selection struct {
	All     bool     `short:"a" help:"All of them."`
	Latest  bool     `short:"l" help:"The one that was made last."`
	CIDFile []string `name:"cidfile" sep:"none" placeholder:"FILE" help:"The one whose id is in FILE."`
	Filter  []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"Those that fit: name, id, label, status, ancestor... as for ps."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

// names are the containers that were asked for, as they were named. Of --all it
// takes those that fit.
func (s selection) names(e engineAPI, verb string, fits func(engine.Container) bool) ([]string, error) {
	names := s.Containers
	for _, f := range s.CIDFile {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read the container id: %w", err)
		}
		names = append(names, strings.TrimSpace(string(data)))
	}
	given := len(names) > 0
	ways := 0
	for _, way := range []bool{given, s.All || len(s.Filter) > 0, s.Latest} {
		if way {
			ways++
		}
	}
	if ways != 1 {
		return nil, &usageError{msg: verb + ": either CONTAINER, --all, --filter or --latest is needed", hint: fmt.Sprintf(`see "coracle %s --help"`, verb)}
	}
	if given {
		return names, nil
	}
	filter, err := filterOf(e, s.Filter)
	if err != nil {
		return nil, err
	}
	all, err := e.Containers() // newest first
	if err != nil {
		return nil, err
	}
	if s.Latest {
		if len(all) == 0 {
			return nil, &usageError{msg: verb + ": there is no container", hint: "coracle ps -a"}
		}
		return []string{all[0].ID}, nil
	}
	for _, box := range all {
		if fits(box) && filter.Match(box) {
			names = append(names, box.ID)
		}
	}
	return names, nil
}

// filterOf reads the words of --filter.
func filterOf(e engineAPI, words []string) (engine.Filter, error) {
	if len(words) == 0 {
		return engine.Filter{}, nil
	}
	f, err := e.Filter(words)
	return f, unknownFilter(err)
}

// each does f to each of the containers and prints the names of those where it
// worked, in their order; the errors of all others come at the end.
func (s selection) each(a *app, verb string, fits func(engine.Container) bool, f func(e engineAPI, name string) error) (int, error) {
	return s.together(a, 1, verb, fits, f)
}

// errNothingDone is for a container that is not there, where that is no error.
var errNothingDone = errors.New("there was nothing to do")

// together is each for several containers at a time: with one after the other,
// those that take their time to end would add theirs up.
func (s selection) together(a *app, atOnce int, verb string, fits func(engine.Container) bool, f func(e engineAPI, name string) error) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := s.names(e, verb, fits)
	if err != nil {
		return exitOurs, err
	}
	results := make([]chan error, len(names))
	free := make(chan struct{}, atOnce)
	for i := range results {
		results[i] = make(chan error, 1)
	}
	go func() {
		for i, name := range names {
			free <- struct{}{}
			go func() {
				results[i] <- f(e, name)
				<-free
			}()
		}
	}()
	var failed []error
	for i, name := range names {
		err := <-results[i]
		if errors.Is(err, errNothingDone) {
			continue
		}
		if err != nil {
			failed = append(failed, doing(verb+" container", name, err))
			continue
		}
		fmt.Fprintln(a.out, visible(name))
		_ = a.out.Flush() // each at its time
	}
	return 0, a.failures(failed)
}

func isRunning(c engine.Container) bool { return c.Running() }
