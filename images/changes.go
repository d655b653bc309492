package images

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Settings are what an image's configuration says of how it is run.
type Settings struct {
	ocispec.ImageConfig
	Healthcheck *Healthcheck // docker's extension; nil: none
}

// applyChanges changes an image's configuration by instructions of a
// Dockerfile, as docker import --change and docker commit --change do.
func applyChanges(c *Settings, changes []string) error {
	for _, line := range changes {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		// podman also takes CMD=…
		if k, v, ok := strings.Cut(word, "="); ok && isInstruction(k) {
			word, rest = k, strings.TrimSpace(v+" "+rest)
		}
		if why := applyChange(c, strings.ToUpper(word), strings.TrimSpace(rest)); why != "" {
			return fail(nil, "invalid change %s: %s", quote(line), why).
				hint("changes are CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR, as in a Dockerfile")
		}
	}
	return nil
}

func isInstruction(w string) bool {
	switch strings.ToUpper(w) {
	case "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR":
		return true
	}
	return false
}

func applyChange(c *Settings, word, rest string) string {
	if !isInstruction(word) {
		return "unknown instruction " + quote(word)
	}
	if rest == "" && word != "CMD" && word != "ENTRYPOINT" {
		return word + " needs a value"
	}
	switch word {
	case "CMD":
		c.Cmd = shellOrExec(rest)
	case "ENTRYPOINT":
		c.Entrypoint = shellOrExec(rest)
	case "ENV":
		return eachPair(rest, func(k, v string) { c.Env = setEnv(c.Env, k, v) })
	case "LABEL":
		return eachPair(rest, func(k, v string) { put(&c.Labels, k, v) })
	case "EXPOSE":
		return expose(c, strings.Fields(rest))
	case "HEALTHCHECK":
		return setHealthcheck(c, rest)
	case "VOLUME":
		var list []string
		if json.Unmarshal([]byte(rest), &list) != nil {
			list = strings.Fields(rest)
		}
		for _, v := range list {
			put(&c.Volumes, v, struct{}{})
		}
	case "STOPSIGNAL":
		if !isSignal(rest) {
			return quote(rest) + " is no signal"
		}
		c.StopSignal = rest
	case "USER":
		c.User = rest
	case "WORKDIR":
		if !path.IsAbs(rest) { // as in a Dockerfile
			rest = path.Join("/", c.WorkingDir, rest)
		}
		c.WorkingDir = rest
	}
	return ""
}

// isSignal: a number, INT, SIGINT, or SIGRTMIN+3.
func isSignal(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n > 0 && n <= 64
	}
	s = strings.TrimPrefix(strings.ToUpper(s), "SIG")
	return unix.SignalNum("SIG"+s) != 0 || strings.HasPrefix(s, "RTMIN") || strings.HasPrefix(s, "RTMAX")
}

func expose(c *Settings, ports []string) string {
	for _, p := range ports {
		if port, proto, ok := strings.Cut(p, "/"); !isPortRange(port) || ok && proto != "tcp" && proto != "udp" && proto != "sctp" {
			return quote(p) + " is not PORT[-PORT][/tcp|udp|sctp]"
		} else if !ok {
			p += "/tcp"
		}
		put(&c.ExposedPorts, p, struct{}{})
	}
	return ""
}

func isPortRange(s string) bool {
	from, to, ok := strings.Cut(s, "-")
	return isPort(from) && (!ok || isPort(to))
}

func put[V any](m *map[string]V, k string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[k] = v
}

// shellOrExec: a JSON list is taken as it is, anything else goes to a shell.
func shellOrExec(s string) []string {
	if s == "" {
		return nil
	}
	var list []string
	if strings.HasPrefix(s, "[") && json.Unmarshal([]byte(s), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", s}
}

func setEnv(env []string, k, v string) []string {
	for i, e := range env {
		if name, _, _ := strings.Cut(e, "="); name == k {
			env[i] = k + "=" + v
			return env
		}
	}
	return append(env, k+"="+v)
}

// eachPair reads K=V K2="V 2" …, or the old form K V.
func eachPair(s string, set func(k, v string)) string {
	words, why := splitWords(s)
	if why != "" {
		return why
	}
	if !strings.Contains(words[0], "=") {
		k, v, ok := strings.Cut(s, " ")
		if !ok {
			return quote(s) + " has no value"
		}
		set(k, strings.TrimSpace(v))
		return ""
	}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return quote(w) + " is not KEY=VALUE"
		}
		set(k, v)
	}
	return ""
}

// splitWords splits at spaces outside quotes; a backslash keeps the next
// character, as in a Dockerfile.
func splitWords(s string) (words []string, why string) {
	var word strings.Builder
	var in byte
	started := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && in != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			started = true
		case in != 0 && c == in:
			in = 0
		case in == 0 && (c == '"' || c == '\''):
			in, started = c, true
		case in == 0 && (c == ' ' || c == '\t'):
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if in != 0 {
		return nil, "a quote is not closed"
	}
	if started {
		words = append(words, word.String())
	}
	return words, ""
}

// SetEnv sets a variable of the environment.
func (s *Settings) SetEnv(name, value string) { s.Env = setEnv(s.Env, name, value) }

// Expose adds a port, PORT[-PORT]/PROTOCOL.
func (s *Settings) Expose(port string) { put(&s.ExposedPorts, port, struct{}{}) }
