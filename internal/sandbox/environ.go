package sandbox

import (
	"slices"
	"strings"
)

func getenv(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// passed are the variables that a command gets from its caller; all else may hold
// what is none of its business.
func passed(name string) bool {
	return name == "TERM" || name == "LANG" || name == "TZ" || name == "COLORTERM" || name == "NO_COLOR" || name == "LANGUAGE" || strings.HasPrefix(name, "LC_")
}

const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// environment makes the command's environment.
func (p *planner) environment() {
	if p.plan.Root != HostRoot && p.places[p.plan.Home] == nil {
		p.plan.Home = "/tmp"
	}
	values := map[string]string{"PATH": getenv(p.Environ, "PATH"), "HOME": p.plan.Home, "USER": p.Name, "LOGNAME": p.Name, "PWD": p.plan.Cwd}
	if p.Tree != nil {
		values["PATH"] = "" // the host's directories are not there
		for _, e := range p.Tree.Env() {
			name, value, _ := strings.Cut(e, "=")
			values[name] = value
		}
		values["HOME"] = p.plan.Home
	}
	if values["PATH"] == "" {
		values["PATH"] = defaultPath
	}
	if url := p.Network.Proxy; url != "" {
		for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
			values[name] = url
		}
		values["no_proxy"] = "localhost,127.0.0.1,::1" // its own
	}
	for _, e := range p.Environ {
		name, value, _ := strings.Cut(e, "=")
		if passed(name) || p.wanted(name) {
			values[name] = value
		}
	}
	for _, e := range p.Env {
		if name, value, ok := strings.Cut(e, "="); ok {
			values[name] = value
		}
	}
	for name, value := range values {
		if value != "" || name != "USER" && name != "LOGNAME" {
			p.plan.Env = append(p.plan.Env, name+"="+value)
		}
	}
	slices.Sort(p.plan.Env)
}

// wanted says whether --env-pass, or --env without a value, names a variable;
// a * at its end stands for the rest.
func (p *planner) wanted(name string) bool {
	for _, w := range slices.Concat(p.EnvPass, p.Env) {
		if prefix, ok := strings.CutSuffix(w, "*"); w == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
