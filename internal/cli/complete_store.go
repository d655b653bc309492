package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/engine"
)

// engine opens the store that the line and the configuration name, nil where
// there is none: looking must not make one.
func (c *completer) engine() engineAPI {
	a := c.app
	a.err = discard{} // a list must not say what is wrong with the store
	line := split{flags: c.store}
	words, err := a.defaults(&parser{entry: c.entry, fields: fieldsOf(&a.global)}, line)
	if err != nil {
		words = nil
	}
	for _, word := range append(words, c.store...) {
		name, value, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		switch name {
		case "root":
			a.global.Root = value
		case "runroot":
			a.global.RunRoot = value
		}
	}
	e, err := a.engine()
	if err != nil {
		return nil
	}
	if s, ok := e.(interface{ Root() string }); ok {
		if _, err := os.Stat(filepath.Join(s.Root(), "oci-layout")); err != nil {
			return nil
		}
	}
	return e
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// containers offers names, or ids where an id was begun, in the states that the
// command works on; those that stand on the line already are left out.
func (c *completer) containers(prefix string) {
	e := c.engine()
	if e == nil {
		return
	}
	all, err := e.Containers()
	if err != nil {
		return
	}
	wanted := wantedStates(c.entry.name)
	for _, box := range all {
		if !wanted(box) || slices.Contains(c.seen.args, box.Name) || slices.Contains(c.seen.args, shortID(box.ID, false)) {
			continue
		}
		about := string(box.Status) + ", " + box.Image
		c.reply(item{prefix + box.Name, about})
		if typed := strings.TrimPrefix(c.current, prefix); len(typed) >= 2 && strings.HasPrefix(box.ID, typed) {
			c.reply(item{prefix + shortID(box.ID, false), about})
		}
	}
}

// wantedStates says which containers a command can do something with.
func wantedStates(command string) func(engine.Container) bool {
	is := func(box engine.Container, states ...string) bool { return slices.Contains(states, string(box.Status)) }
	switch command {
	case "start":
		return func(box engine.Container) bool { return !is(box, "running", "paused", "restarting", "stopping") }
	case "pause", "exec", "attach", "top", "port", "checkpoint", "stats", "healthcheck run":
		return func(box engine.Container) bool { return is(box, "running") }
	case "stop", "kill", "wait":
		return func(box engine.Container) bool { return is(box, "running", "paused", "restarting", "stopping") }
	case "unpause":
		return func(box engine.Container) bool { return is(box, "paused") }
	}
	return func(engine.Container) bool { return true }
}

// images offers names with their tags, as short as they can be written, unless
// the registry was typed.
func (c *completer) images() {
	e := c.engine()
	if e == nil {
		return
	}
	all, err := e.Images()
	if err != nil {
		return
	}
	for _, img := range all {
		for _, name := range img.Names {
			short := strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
			if strings.HasPrefix(name, c.current) && strings.ContainsAny(c.current, "./") {
				short = name
			}
			if !slices.Contains(c.seen.args, short) {
				c.reply(item{short, humanSize(img.Size)})
			}
		}
		if id := img.ID.Encoded(); len(c.current) >= 2 && strings.HasPrefix(id, c.current) {
			c.reply(item{shortID(id, false), strings.Join(img.Names, " ")})
		}
	}
}

// volumes offers the store's volumes: their directories.
func (c *completer) volumes(suffix string) {
	s, ok := c.engine().(interface{ Root() string })
	if !ok {
		return
	}
	entries, err := os.ReadDir(filepath.Join(s.Root(), "volumes"))
	if err != nil {
		return
	}
	for _, d := range entries {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") && !slices.Contains(c.seen.args, d.Name()) {
			c.reply(item{d.Name() + suffix, "volume"})
		}
	}
}

// secrets offers the names of the store's secrets.
func (c *completer) secrets() {
	e := c.engine()
	if e == nil {
		return
	}
	all, err := e.Secrets()
	if err != nil {
		return
	}
	for _, s := range all {
		if !slices.Contains(c.seen.args, s.Name) {
			c.reply(item{s.Name, "secret"})
		}
	}
}

// networks offers the names of those that containers share.
func (c *completer) networks() {
	e := c.engine()
	if e == nil {
		return
	}
	all, err := e.Networks()
	if err != nil {
		return
	}
	for _, n := range all {
		if !slices.Contains(c.seen.args, n.Name) {
			c.reply(item{n.Name, "network"})
		}
	}
}

// networkMode offers what --network takes; behind a driver's name, its options.
func (c *completer) networkMode(typed string) {
	driver, options, given := strings.Cut(typed, ":")
	switch {
	case given && slices.Contains([]string{"builtin", "slirp4netns", "pasta"}, driver):
		c.rest(options[strings.LastIndexByte(options, ',')+1:])
		c.words("mtu=", "cidr=", "ipv6=false", "host-loopback=true")
	case given && driver == "ns":
		c.rest(options)
		c.answer.files = true
	default:
		c.words("private", "builtin", "none", "host", "slirp4netns", "pasta", "ns:")
		c.networks()
	}
}
