package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"coracle/internal/engine"
)

type eventsCmd struct {
	Since   string   `placeholder:"TIME" help:"From then on: a time, or how long ago (10m)."`
	Until   string   `placeholder:"TIME" help:"Until then: a time, or in how long (10m)."`
	Filter  []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"Those that fit: container, event, image, label, type, volume. Of one key any, of several keys all must fit."`
	Stream  bool     `default:"true" placeholder:"false" help:"Do not wait for what is to come."`
	NoTrunc bool     `name:"no-trunc" default:"true" placeholder:"false" help:"Show short ids."`
	Format  string   `placeholder:"FMT" help:"json (a line each) or a Go template."`
}

func (*eventsCmd) Help() string {
	return `Shows what happens from now on. With --since or --until, or without --stream,
also what has happened: so much is kept as fits in some megabytes.

  coracle events
  coracle events --since 1h --stream=false --filter event=died
  coracle events --filter container=web --format '{{.Time}} {{.Status}}'`
}

func (c *eventsCmd) run(a *app) (int, error) {
	o := engine.EventOptions{Since: c.Since, Until: c.Until, Stream: c.Stream, Filter: c.Filter}
	show, err := c.printer(a)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	err = e.Events(ctx, o, func(ev engine.Event) error {
		if err := show(ev); err != nil {
			return err
		}
		return a.out.Flush()
	})
	return 0, unknownFilter(err)
}

func (c *eventsCmd) printer(a *app) (func(engine.Event) error, error) {
	switch c.Format {
	case "":
		return func(ev engine.Event) error {
			_, err := fmt.Fprintln(a.out, eventLine(ev, c.NoTrunc))
			return err
		}, nil
	case "json":
		return func(ev engine.Event) error {
			b, err := json.Marshal(ev)
			if err == nil {
				_, err = a.out.Write(append(visibleJSON(b), '\n'))
			}
			return err
		}, nil
	}
	tmpl, err := parseTemplate(c.Format)
	if err != nil {
		return nil, err
	}
	return func(ev engine.Event) error { return execute(a.out, tmpl, visibleEvent(ev)) }, nil
}

// eventLine is podman's line, and of died how it ended as well.
func eventLine(ev engine.Event, whole bool) string {
	words := []string{ev.Time.Local().String(), ev.Type, ev.Status}
	if ev.ID != "" {
		words = append(words, shortID(ev.ID, whole))
	}
	if ev.Type != "container" {
		return visible(strings.Join(append(words, ev.Name), " "))
	}
	details := []string{"image=" + ev.Image, "name=" + ev.Name}
	if ev.ContainerExitCode != nil {
		details = append(details, fmt.Sprint("exitCode=", *ev.ContainerExitCode))
	}
	if ev.Signal != 0 {
		details = append(details, fmt.Sprint("signal=", ev.Signal))
	}
	if ev.OOMKilled {
		details = append(details, "oom=true")
	}
	if ev.HealthStatus != "" {
		details = append(details, "health_status="+ev.HealthStatus)
	}
	for _, k := range slices.Sorted(maps.Keys(ev.Attributes)) {
		details = append(details, k+"="+ev.Attributes[k])
	}
	return visible(strings.Join(words, " ") + " (" + strings.Join(details, ", ") + ")")
}

func visibleEvent(ev engine.Event) engine.Event {
	for _, s := range []*string{&ev.ID, &ev.Image, &ev.Name, &ev.Status, &ev.Type, &ev.HealthStatus} {
		*s = visible(*s)
	}
	labels := make(map[string]string, len(ev.Attributes))
	for k, v := range ev.Attributes {
		labels[visible(k)] = visible(v)
	}
	ev.Attributes = labels
	return ev
}

// unknownFilter says which filters there are, and which was meant.
func unknownFilter(err error) error {
	var unknown *engine.UnknownFilterError
	if !errors.As(err, &unknown) {
		return err
	}
	hint := strings.Join(unknown.Known, ", ")
	if near := nearest(unknown.Key, unknown.Known); near != "" {
		hint = fmt.Sprintf("did you mean %q? There are %s", near, hint)
	}
	return &usageError{msg: unknown.Error(), hint: hint}
}
