package spec

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// initPath is where a foreign --init-path is mounted.
const initPath = "/run/coracle-init"

// command decides args, cwd and umask.
func (g *generator) command() error {
	args, err := g.args()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return refuse("command", "", "none given, and the image names none").hint("give a command after the image")
	}
	if args[0] == "" {
		return refuse("command", "", "the name of the program is empty")
	}
	g.spec.Process.Args = args
	if g.opt.Init || g.opt.InitPath != "" {
		if err := g.initProcess(); err != nil {
			return err
		}
	}
	if g.spec.Process.Cwd, err = g.workdir(); err != nil {
		return err
	}
	umask := uint32(0o022)
	if g.opt.Umask != "" {
		if umask, err = parseMode(g.opt.Umask, 0o777); err != nil {
			return refused("--umask", g.opt.Umask, err)
		}
	}
	g.spec.Process.User.Umask = &umask
	return nil
}

// args combines entrypoint and command. An --entrypoint, even an empty one,
// drops the image's Cmd, as in docker and podman.
func (g *generator) args() ([]string, error) {
	entrypoint, cmd := g.in.Image.Entrypoint, g.in.Image.Cmd
	if g.opt.Entrypoint != nil {
		entrypoint, cmd = parseEntrypoint(*g.opt.Entrypoint), nil
	}
	if len(g.opt.Args) > 0 {
		cmd = g.opt.Args
	}
	if len(entrypoint) == 1 && entrypoint[0] == "" {
		entrypoint = nil
	}
	args := append(append([]string{}, entrypoint...), cmd...)
	if len(args) == 0 && g.in.NoImage {
		shell, err := g.shell()
		return []string{shell}, err
	}
	return args, nil
}

// parseEntrypoint takes a JSON array for what it is, and all else for the
// path of one program.
func parseEntrypoint(s string) []string {
	var array []string
	if err := json.Unmarshal([]byte(s), &array); err == nil {
		return array
	}
	return []string{s}
}

// shell is the caller's own where the root has it.
func (g *generator) shell() (string, error) {
	shell := g.host.get("SHELL")
	if !path.IsAbs(shell) {
		return "/bin/sh", nil
	}
	_, err := g.in.Root.ReadFile(shell)
	if errors.Is(err, fs.ErrNotExist) {
		return "/bin/sh", nil
	}
	// Any other error (too large to read, say) still means that it is there.
	return shell, nil
}

func (g *generator) initProcess() error {
	if !g.ownPID {
		return refuse("--init", "", "it must be process 1, and --pid %s has one already", g.opt.PID).hint("leave out --pid %s", g.opt.PID)
	}
	if g.opt.InitPath == "" {
		g.res.Init = true
		return nil
	}
	source, err := g.hostPath(g.opt.InitPath)
	if err == nil {
		_, err = g.in.Host.Stat(source)
	}
	if err != nil {
		return refuse("--init-path", g.opt.InitPath, "").because(err)
	}
	// catatonit and tini both take the command after "--".
	g.spec.Process.Args = append([]string{initPath, "--"}, g.spec.Process.Args...)
	return g.place(specs.Mount{
		Destination: initPath, Type: "bind", Source: source,
		Options: []string{"bind", "rprivate", "ro"},
	}, fromImplied, "--init-path", g.opt.InitPath)
}

func (g *generator) workdir() (string, error) {
	dir := g.opt.Workdir
	if dir != "" && !path.IsAbs(dir) {
		return "", refuse("--workdir", dir, "must be an absolute path inside the container")
	}
	if dir == "" {
		dir = g.in.Image.WorkingDir
	}
	// An image may name a relative one: docker takes it from the root.
	return path.Join("/", dir), nil
}

// environ puts the environment together; each line overrides those before it
// (podman-run(1), "Environment").
func (g *generator) environ() error {
	var env environment
	env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if g.opt.TTY {
		env.set("TERM", "xterm")
	}
	env.set("container", "coracle")
	if g.res.Systemd && len(g.in.ID) >= 32 {
		env.set("container_uuid", g.in.ID[:32])
	}
	if g.opt.EnvHost {
		env.setAll(g.host)
	}
	if g.opt.HTTPProxy == nil || *g.opt.HTTPProxy {
		g.proxies(&env)
	}
	env.setAll(g.in.Image.Env)
	for _, name := range g.opt.UnsetEnv {
		env.unset(name)
	}
	if g.opt.UnsetEnvAll {
		env = nil
	}
	for _, file := range g.opt.EnvFiles {
		data, err := g.readHost(file)
		if err == nil {
			err = env.addFile(data, g.host)
		}
		if err != nil {
			return refused("--env-file", file, err)
		}
	}
	for _, word := range g.opt.Env {
		if err := env.add(word, g.host); err != nil {
			return refused("--env", word, err)
		}
	}
	if !env.has("HOSTNAME") {
		env.set("HOSTNAME", g.hostname)
	}
	if !env.has("HOME") {
		env.set("HOME", g.user.home)
	}
	g.spec.Process.Env = env
	return nil
}

// proxies hands on the caller's proxy settings. With a network of its own
// that leads nowhere they would only slow programs down.
func (g *generator) proxies(env *environment) {
	if g.ownNet && g.in.Tun == nil {
		return
	}
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"} {
		for _, n := range []string{name, strings.ToUpper(name)} {
			if g.host.has(n) {
				env.set(n, g.host.get(n))
			}
		}
	}
}
