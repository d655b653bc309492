package cli

import (
	"os"
	"slices"
	"strings"

	"coracle/spec"
)

// value completes the value of a flag: its choices where it has an enum, else
// what its name or its placeholder stands for.
func (c *completer) value(f field, typed string) {
	if enum := f.tag.Get("enum"); enum != "" {
		c.words(slices.DeleteFunc(strings.Split(enum, ","), func(w string) bool { return w == "" })...)
		return
	}
	if f.isBool {
		c.words("true", "false")
		return
	}
	// Where the help says that another container's can be shared.
	if strings.Contains(f.help, "container:") {
		if strings.HasPrefix(typed, "container:") {
			c.containers("container:")
			return
		}
		c.words("container:")
	}
	if list, ok := flagWords()[f.name]; ok {
		c.words(strings.Fields(list)...)
		return
	}
	if c.flagValue(f.name, typed) || c.flagRest(f.name, typed) {
		return
	}
	c.placeholder(f.tag.Get("placeholder"))
}

// flagWords are the values of flags that take one of a few, which no enum says
// because others are understood, too.
func flagWords() map[string]string {
	return map[string]string{
		"userns":            "keep-id nomap auto",
		"uts":               "private host",
		"cgroupns":          "private host",
		"image-volume":      "anonymous tmpfs ignore",
		"platform":          "linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/s390x linux/riscv64",
		"group-add":         "keep-groups",
		"tz":                "local UTC",
		"mount":             "type=bind, type=tmpfs, type=volume, type=image,",
		"restart":           "no on-failure on-failure: always unless-stopped",
		"log-driver":        "json-file k8s-file journald none",
		"log-opt":           "max-size= max-file= path= tag=",
		"systemd":           "true false always",
		"health-on-failure": "none kill restart stop",
		"condition":         "created running paused exited stopped healthy unhealthy removing",
		"format":            "json",
		"denials":           "all none",
		"loopback":          "allow deny",
		"change":            "CMD ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR",
	}
}

// flagValue completes the flags whose values are looked up.
func (c *completer) flagValue(name, typed string) bool {
	switch name {
	case "network", "net":
		c.networkMode(typed)
	case "pid":
		c.words("private", "host")
	case "ipc":
		c.words("private", "host", "none", "shareable")
	case "ulimit":
		for _, limit := range spec.UlimitNames() {
			c.words(limit + "=")
		}
		c.words("host")
	case "env":
		c.variables()
	case "device", "init-path":
		c.answer.files = true
	case "volumes-from":
		c.containers("")
	case "secret":
		c.secrets()
	default:
		return false
	}
	return true
}

// flagRest completes those that depend on how the value begins.
func (c *completer) flagRest(name, typed string) bool {
	switch name {
	case "stop-signal", "signal":
		c.signals(typed)
	case "cap-add", "cap-drop":
		c.capabilities(typed)
	case "security-opt":
		c.securityOpt(typed)
	case "volume":
		c.mountSource(typed)
	case "filter":
		c.filter(typed)
	default:
		return false
	}
	return true
}

// signals are written as they were begun: with SIG or without, in small letters
// or large ones.
func (c *completer) signals(typed string) {
	prefix := ""
	if strings.HasPrefix(strings.ToUpper(typed), "SIG") {
		prefix = typed[:3]
	}
	for _, s := range append(spec.SignalNames(), "RTMIN+3") {
		c.words(prefix + likeTyped(s, typed))
	}
}

func likeTyped(word, typed string) string {
	if typed != "" && typed == strings.ToLower(typed) {
		return strings.ToLower(word)
	}
	return word
}

func (c *completer) capabilities(typed string) {
	c.words(likeTyped("ALL", typed))
	long := strings.HasPrefix(strings.ToUpper(typed), "CAP_")
	for _, name := range spec.CapabilityNames() {
		if !long {
			name = strings.TrimPrefix(name, "CAP_")
		}
		c.words(likeTyped(name, typed))
	}
}

func (c *completer) securityOpt(typed string) {
	if value, ok := strings.CutPrefix(typed, "seccomp="); ok {
		c.rest(value)
		c.words("unconfined")
		c.answer.files = true
		return
	}
	c.words(spec.SecurityOptions()...)
}

// rest makes value, the end of the current word, the part that is chosen.
func (c *completer) rest(value string) {
	c.answer.skip = len([]rune(c.current)) - len([]rune(value))
}

// mountSource completes SRC:DST:OPTIONS.
func (c *completer) mountSource(typed string) {
	parts := strings.Split(typed, ":")
	switch len(parts) {
	case 1:
		if !strings.ContainsAny(typed, "/.~") {
			c.volumes(":")
		}
		c.answer.files = true
	case 3:
		c.rest(parts[2])
		c.words("ro", "rw", "O", "U", "z", "Z", "rshared", "rslave", "rprivate")
	}
}

// variables are the names of the environment's, whose values --env NAME takes.
func (c *completer) variables() {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		c.words(name)
	}
	slices.SortFunc(c.answer.items, func(a, b item) int { return strings.Compare(a.word, b.word) })
}

// filter completes KEY=VALUE of listings.
func (c *completer) filter(typed string) {
	key, value, given := strings.Cut(typed, "=")
	if given {
		c.rest(value)
		switch key {
		case "status":
			c.words("created", "running", "paused", "exited")
		case "event":
			c.words(strings.Fields("attach commit create died exec exec_died health_status import init kill loadfromarchive oom pause pull push remove rename restart start stop tag unpause untag update")...)
		case "type":
			c.words("container", "image", "volume")
		case "health":
			c.words("healthy", "unhealthy", "starting", "none")
		case "dangling":
			c.words("true", "false")
		case "ancestor", "reference", "before", "since", "after":
			c.images()
		case "volume":
			c.volumes("")
		case "name", "container":
			c.containers("")
		}
		return
	}
	keys := map[string]string{
		"images":       "reference= dangling= label= before= since= until= id= digest=",
		"volume ls":    "name= label= dangling= driver= opt= anonymous= since= until=",
		"volume prune": "label= label!= name= anonymous= until=",
		"secret ls":    "name= id=",
		"events":       "container= event= image= label= type= volume=",
	}
	list, ok := keys[c.entry.name]
	if !ok {
		list = "id= name= label= annotation= status= exited= ancestor= volume= network= restart-policy= health= before= since= until="
	}
	c.words(strings.Fields(list)...)
}

// placeholder completes by what a flag's or argument's value is called.
func (c *completer) placeholder(name string) {
	switch name {
	case "FILE", "PATH", "SRC", "DST":
		c.answer.files = true
	case "DIR", "BUNDLE":
		c.answer.dirs = true
	case "CONTAINER":
		c.containers("")
	case "IMAGE":
		c.images()
	case "ROOT":
		c.images()
		c.reply(item{"host", "this machine's own root"}, item{"none", "an empty one"})
		c.answer.dirs = true
	case "VOLUME":
		c.volumes("")
	case "SECRET":
		c.secrets()
	case "NETWORK":
		c.networks()
	case "SIGNAL":
		c.signals(c.current)
	}
}

// argument completes the next argument by its name in the grammar.
func (c *completer) argument(fields []field) {
	var args []field
	for _, f := range fields {
		if f.isArg {
			args = append(args, f)
		}
	}
	if len(args) == 0 {
		return
	}
	n := len(c.seen.args)
	if c.entry.trailing && n >= len(args) || n >= len(args) && args[len(args)-1].value.Type().Kind().String() != "slice" {
		c.answer.files = c.entry.trailing
		return
	}
	arg := args[min(n, len(args)-1)]
	if enum := arg.tag.Get("enum"); enum != "" {
		c.words(strings.Split(enum, ",")...)
		return
	}
	switch name := arg.tag.Get("name"); {
	case name == "IMAGE" && c.entry.name == "run" || name == "IMAGE" && c.entry.name == "create":
		if slices.Contains(c.seen.flags, "--rootfs=true") {
			c.answer.dirs = true
			return
		}
		c.images()
		c.reply(item{"host", "this machine's own root"})
		c.transports()
	case name == "IMAGE" && c.entry.name == "pull":
		c.images()
		c.transports()
	case name == "IMAGE" && n == 0, name == "IMAGE" && c.entry.name == "save", name == "NAME" && (c.entry.name == "images" || c.entry.name == "untag"):
		c.images()
	case name == "DIR":
		c.answer.dirs = true
	case name == "NAME" && (c.entry.name == "inspect" || c.entry.name == "diff"), name == "OTHER":
		c.inspected()
	case name == "ARG" || name == "COMMAND":
		c.answer.files = true
	case name == "SRC" || name == "DST":
		c.containers("")
		for i := range c.answer.items {
			c.answer.items[i].word += ":"
		}
		c.answer.files = true
	default:
		c.placeholder(name)
	}
}

// transports complete oci:DIR and the like once they are begun.
func (c *completer) transports() {
	for _, t := range []string{"oci:", "oci-archive:", "docker-archive:", "dir:", "rootfs:"} {
		if value, ok := strings.CutPrefix(c.current, t); ok {
			c.answer.items = nil
			c.rest(value)
			c.answer.files = true
			return
		}
		if c.current != "" {
			c.words(t)
		}
	}
}

func (c *completer) inspected() {
	kind := "all"
	for _, f := range c.seen.flags {
		if value, ok := strings.CutPrefix(f, "--type="); ok {
			kind = value
		}
	}
	if kind == "all" || kind == "container" {
		c.containers("")
	}
	if kind == "all" || kind == "image" {
		c.images()
	}
	if kind == "all" || kind == "volume" {
		c.volumes("")
	}
}
