package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"coracle/internal/engine"
)

// containerRow is a container as the table and templates show it. The names are
// podman's and docker's.
type containerRow struct {
	ID           string
	Image        string
	ImageID      string
	Command      string
	CreatedAt    string
	Created      string // how long ago
	CreatedHuman string // podman's name for it
	RunningFor   string // and docker's
	StartedAt    int64
	State        string
	Status       string
	Health       string
	Exited       bool
	ExitedAt     int64
	ExitCode     int
	OOMKilled    bool
	Pid          int
	Restarts     int
	AutoRemove   bool
	Names        string
	Labels       labelMap
	Mounts       wordList
	LocalVolumes int
	Networks     wordList
	Ports        wordList
	Size         string

	box   engine.Container
	sizes engine.Sizes
}

// containerDocument is a container in `ps --format json`. Source: what podman
// 4.3 prints; CreatedAt is a time here and no words.
type containerDocument struct {
	ID         string `json:"Id"`
	Image      string
	ImageID    string
	Command    []string
	Created    int64 // seconds since 1970, as StartedAt and ExitedAt
	CreatedAt  string
	StartedAt  int64
	State      string
	Status     string
	Health     string
	Exited     bool
	ExitedAt   int64
	ExitCode   int
	OOMKilled  bool
	Pid        int
	Restarts   int
	AutoRemove bool
	Names      []string
	Labels     map[string]string
	Mounts     []string
	Networks   []string
	Ports      []string
	Size       *documentSize // null unless --size asks for it
}

type documentSize struct {
	RW   int64 `json:"rwSize"`
	Root int64 `json:"rootFsSize"`
}

// wordList prints as words with commas between.
type wordList []string

func (l wordList) String() string { return strings.Join(l, ",") }

// labelMap prints as KEY=VALUE with commas between, sorted.
type labelMap map[string]string

func (m labelMap) String() string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+m[k])
	}
	return strings.Join(words, ",")
}

// Label is docker's {{.Label "key"}}.
func (r containerRow) Label(key string) string { return r.Labels[key] }

// The namespaces, by podman's names.

// CGROUPNS is the number of the cgroup namespace.
func (r containerRow) CGROUPNS() string { return r.box.Namespaces().Cgroup }

// IPC is the number of the IPC namespace.
func (r containerRow) IPC() string { return r.box.Namespaces().IPC }

// MNT is the number of the mount namespace.
func (r containerRow) MNT() string { return r.box.Namespaces().Mnt }

// NET is the number of the network namespace.
func (r containerRow) NET() string { return r.box.Namespaces().Net }

// PIDNS is the number of the pid namespace.
func (r containerRow) PIDNS() string { return r.box.Namespaces().PID }

// USERNS is the number of the user namespace.
func (r containerRow) USERNS() string { return r.box.Namespaces().User }

// UTS is the number of the UTS namespace.
func (r containerRow) UTS() string { return r.box.Namespaces().UTS }

// psHeading answers a template with headings, for "table TEMPLATE".
type psHeading map[string]string

// Label is the heading of {{.Label "key"}}.
func (psHeading) Label(key string) string { return strings.ToUpper(key) }

func psTitles() psHeading {
	titles := psHeading{
		"ID": "CONTAINER ID", "CreatedAt": "CREATED AT", "CreatedHuman": "CREATED", "RunningFor": "RUNNING FOR", "StartedAt": "STARTED AT",
		"ImageID": "IMAGE ID", "ExitedAt": "EXITED AT", "ExitCode": "EXIT CODE", "OOMKilled": "OOM KILLED", "AutoRemove": "AUTO REMOVE", "LocalVolumes": "LOCAL VOLUMES",
	}
	for _, name := range strings.Fields("Image Command Created State Status Health Exited Pid Restarts Names Labels Mounts Networks Ports Size CGROUPNS IPC MNT NET PIDNS USERNS UTS") {
		titles[name] = strings.ToUpper(name)
	}
	return titles
}

func (c *psCmd) row(box engine.Container, sizes engine.Sizes, now time.Time) containerRow {
	whole := c.NoTrunc || c.Format == "json"
	command := strings.Join(box.Command, " ")
	if !whole {
		command = cut(command, 24)
	}
	age := humanAge(now, box.Created)
	r := containerRow{
		ID: shortID(box.ID, whole), Image: box.Image, Command: command,
		CreatedAt: box.Created.UTC().Format(time.RFC3339), Created: age, CreatedHuman: age, RunningFor: age,
		StartedAt: unixTime(box.Started), State: string(box.Status), Status: statusLine(box, now), Health: box.Health,
		Exited: box.Status == engine.Stopped, ExitCode: box.ExitCode, OOMKilled: box.OOMKilled, Pid: box.PID, Restarts: box.Restarts, AutoRemove: box.Remove,
		Names: box.Name, Labels: box.Labels, Ports: wordList(box.PortWords()), box: box, sizes: sizes,
		Size: fmt.Sprintf("%s (virtual %s)", humanSize(sizes.RW), humanSize(sizes.Root)),
	}
	if box.ImageID != "" {
		r.ImageID = shortID(box.ImageID.Encoded(), whole)
	}
	if r.Exited {
		r.ExitedAt = unixTime(box.Finished)
	}
	for _, m := range box.Mounts {
		if m.Type == "volume" {
			r.LocalVolumes++
		}
		r.Mounts = append(r.Mounts, m.Destination)
	}
	return r
}

// unixTime is 0 for no time at all.
func unixTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// document is the row for programs: nothing is cut.
func (r containerRow) document() containerDocument {
	d := containerDocument{
		ID: r.box.ID, Image: r.Image, ImageID: r.ImageID, Command: r.box.Command, Created: unixTime(r.box.Created),
		CreatedAt: r.box.Created.UTC().Format(time.RFC3339Nano), StartedAt: r.StartedAt, State: r.State, Status: r.Status, Health: r.Health,
		Exited: r.Exited, ExitedAt: r.ExitedAt, ExitCode: r.ExitCode, OOMKilled: r.OOMKilled, Pid: r.Pid, Restarts: r.Restarts, AutoRemove: r.AutoRemove,
		Names: []string{r.Names}, Labels: r.Labels, Mounts: r.Mounts, Networks: r.Networks, Ports: r.Ports,
	}
	for _, list := range []*[]string{&d.Command, &d.Mounts, &d.Ports} {
		if *list == nil {
			*list = []string{}
		}
	}
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	if r.sizes != (engine.Sizes{}) {
		d.Size = &documentSize{r.sizes.RW, r.sizes.Root}
	}
	return d
}

// clean makes all strings visible.
func (r containerRow) clean() containerRow {
	for _, s := range []*string{&r.ID, &r.Image, &r.ImageID, &r.Command, &r.State, &r.Status, &r.Health, &r.Names} {
		*s = visible(*s)
	}
	labels := make(labelMap, len(r.Labels))
	for k, v := range r.Labels {
		labels[visible(k)] = visible(v)
	}
	r.Labels = labels
	for _, list := range []*wordList{&r.Mounts, &r.Networks, &r.Ports} {
		clean := make(wordList, 0, len(*list))
		for _, w := range *list {
			clean = append(clean, visible(w))
		}
		*list = clean
	}
	return r
}

// statusLine is the state in words, as docker and podman have it.
func statusLine(box engine.Container, now time.Time) string {
	health := box.Health
	if health == "starting" {
		health = "health: starting" // docker's words
	}
	switch {
	case box.Status == engine.Created:
		return "Created"
	case !box.Running() && box.Finished.IsZero():
		return fmt.Sprintf("Exited (%d)", box.ExitCode) // killed with its monitor, and not swept yet
	case !box.Running():
		line := fmt.Sprintf("Exited (%d) %s", box.ExitCode, humanAge(now, box.Finished))
		if box.OOMKilled {
			line += " (OOM)" // else 137 is anybody's SIGKILL
		}
		return line
	}
	since := box.Started
	if since.IsZero() {
		since = box.Created
	}
	line := "Up " + strings.TrimSuffix(humanAge(now, since), " ago")
	if line == "Up just now" {
		line = "Up less than a second"
	}
	if box.NetworkLost {
		line += " (network lost)"
	}
	switch {
	case box.Status == engine.Paused:
		line += " (Paused)"
	case health != "":
		line += " (" + health + ")"
	}
	return line
}
