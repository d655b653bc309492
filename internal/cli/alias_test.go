package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"coracle/internal/engine"
)

// invokeAs runs a command line under another name of the program.
func invokeAs(t *testing.T, f *fakeEngine, line string) outcome {
	t.Helper()
	out, errs := &strings.Builder{}, &strings.Builder{}
	a := newTestApp(t)
	a.out.Reset(out)
	a.err = errs
	var warn func(string, string)
	a.open = func(c engine.Config) (engineAPI, error) {
		warn = c.Warn
		warn("a warning", "do something")
		return f, nil
	}
	words := strings.Fields(line)
	words[0] = "/usr/local/bin/" + words[0]
	return outcome{a.main(words), out.String(), errs.String()}
}

// TestLinkLines: what docker's and podman's users type.
func TestLinkLines(t *testing.T) {
	for _, c := range []struct{ line, asked string }{
		{"docker image rm x", "rmi x"},
		{"docker image remove -f x", "rmi x|force"},
		{"docker rmi x", "rmi x"},
		{"podman rmi -i no-x y", "rmi no-x|rmi y"},
		{"docker container rm x", "rm x"},
		{"podman container remove x", "rm x"},
		{"podman image pull debian", "pull debian"},
		{"docker inspect debian", "inspect all debian"},
		{"docker image inspect debian", "inspect image debian"},
		{"docker container inspect web", "inspect container web"},
		{"docker container inspect --type=image web", "inspect image web"},
		{"docker --debug --log-level warn rm x", "rm x"},
		{"docker -D -l error rm x", "rm x"},
		{"docker -lerror rm x", "rm x"},
		{"podman --log-level=debug rm x", "rm x"},
		{"podman --root /r --runroot=/rr --storage-driver overlay rm x", "rm x"},
		{"podman import --os linux --arch arm64 --variant v8 f.tar", "import f.tar"},
		{"coracle container rm x", "rm x"},
	} {
		f := &fakeEngine{images: someImages(), containers: someContainers(), documents: map[string]any{"debian": 1, "web": 2}}
		got := invokeAs(t, f, c.line)
		if got.code != 0 || strings.Join(f.asked, "|") != c.asked {
			t.Errorf("%s: %d, asked %q, not %q\n%s", c.line, got.code, f.asked, c.asked, got.err)
		}
	}
}

func TestLinkRun(t *testing.T) {
	f := &fakeEngine{}
	got := invokeAs(t, f, "docker container run --rm -e A=b --arch arm64 debian echo --arch hi")
	if got.code != 0 || f.ran.Image != "debian" || f.ran.Platform != "linux/arm64" || !slices.Equal(f.ran.Args, []string{"echo", "--arch", "hi"}) {
		t.Errorf("%d %+v %s", got.code, f.ran, got.err)
	}
	for _, line := range []string{"podman container ls", "docker container list", "docker container ps", "docker ps"} {
		f := &fakeEngine{containers: someContainers()}
		if got := invokeAs(t, f, line); got.code != 0 || !strings.Contains(got.out, "web") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	for _, line := range []string{"podman image ls", "docker image list", "docker images"} {
		if got := invokeAs(t, &fakeEngine{images: someImages()}, line); got.code != 0 || !strings.Contains(got.out, "alpine") {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// TestLinkRefusals: what cannot be meant here is refused by name, with a reason.
func TestLinkRefusals(t *testing.T) {
	for _, c := range []struct{ line, err, hint string }{
		{"docker -H tcp://x ps", "-H is refused: there is no daemon", "ssh HOST docker"},
		{"docker --host=tcp://x ps", "--host is refused: there is no daemon", "ssh"},
		{"docker --context prod ps", "--context is refused: there is no daemon", "ssh"},
		{"docker -c prod ps", "-c is refused", ""},
		{"docker --config d ps", "--config is refused", "DOCKER_CONFIG"},
		{"docker --tlsverify ps", "--tlsverify is refused", ""},
		{"docker --log-level", "--log-level needs a value", ""},
		{"docker --log-level wran ps", `--log-level: "wran" is not one of`, `did you mean "warn"?`},
		{"docker compose up", `"compose" is not supported: files of compose`, "coracle run"},
		{"docker swarm init", `"swarm" is not supported`, ""},
		{"docker context ls", `"context" is not supported: there is no daemon`, ""},
		{"docker buildx build .", `"buildx" is not supported`, "buildah"},
		{"podman --remote ps", "--remote is refused: there is no daemon or service", ""},
		{"podman -r ps", "-r is refused", ""},
		{"podman --connection x ps", "--connection is refused", ""},
		{"podman --conmon x ps", "--conmon is refused: coracle is its own", "--root"},
		{"podman --cgroup-manager zfs ps", "--cgroup-manager must be one of", ""},
		{"podman --runtime crun run x", "--runtime is refused", ""},
		{"podman pod ps", `"pod" is not supported`, ""},
		{"podman machine start", `"machine" is not supported: there is no virtual machine`, ""},
		{"podman --rott /x ps", "unknown flag --rott", "--root"},
		{"podman import --os linux f.tar", "--os and --variant need --arch", "--platform"},
		{"podman pull --arch arm64 --platform linux/arm64 x", "--platform stands beside --arch", ""},
		{"docker rmi --no-prune x", "--no-prune is refused: an image has no", "leave it out"},
		{"podman images --history", "--history is not supported yet", ""},
		{"docker info -D", "-D is refused", "--debug"},
		{"podman unshare --rootless-netns true", "--rootless-netns is refused", ""},
		{"coracle -H x ps", "unknown flag -H before the command", ""},
		{"coracle compose up", `"compose" is not supported`, ""},
	} {
		got := invokeAs(t, &fakeEngine{}, c.line)
		if got.code != 125 || !strings.Contains(got.err, "error: ") || !strings.Contains(got.err, c.err) || !strings.Contains(got.err, c.hint) {
			t.Errorf("%s: %d\n%s", c.line, got.code, got.err)
		}
	}
}

// TestLinkHushes: --log-level error drops warnings, and warn keeps them.
func TestLinkHushes(t *testing.T) {
	for line, want := range map[string]bool{"docker -l error ps": false, "podman --log-level=fatal ps": false, "podman --log-level warn ps": true, "docker ps": true} {
		got := invokeAs(t, &fakeEngine{}, line)
		if strings.Contains(got.err, "warning: a warning") != want || strings.Contains(got.err, "hint: do something") != want {
			t.Errorf("%s: %q", line, got.err)
		}
	}
}

// TestLinkDocuments: templates as scripts have them.
func TestLinkDocuments(t *testing.T) {
	version = "1.2.3"
	defer func() { version = "" }()
	for line, want := range map[string]string{
		"docker version --format {{.Client.Version}}/{{.Server.Version}}":                       "1.2.3/1.2.3\n",
		"docker version -f {{.Server.Os}}":                                                      "linux\n",
		"podman version --format {{.Client.Version}}":                                           "1.2.3\n",
		"docker info --format {{.ServerVersion}}:{{.OSType}}":                                   "1.2.3:linux\n",
		"podman info -f {{.Host.OS}}{{.Host.Security.SECCOMPEnabled}}{{.Version.Version}}":      "linuxfalse1.2.3\n",
		"podman system info --format {{.Store.ContainerStore.Number}}{{.Host.ServiceIsRemote}}": "0false\n",
		"docker system info --format {{range.SecurityOptions}}{{.}}{{end}}":                     "name=rootless\n",
		"coracle version --format {{.version}}":                                                 "1.2.3\n",
	} {
		if got := invokeAs(t, &fakeEngine{}, line); got.code != 0 || got.out != want {
			t.Errorf("%s: %d %q %s", line, got.code, got.out, got.err)
		}
	}
	got := invokeAs(t, &fakeEngine{}, "podman info --format json")
	var doc map[string]map[string]any
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || doc["host"]["os"] != "linux" || doc["store"] == nil {
		t.Errorf("%v %s", err, got.out)
	}
}

// TestAliasesAreCommands: each other word leads to a command, and hides none.
func TestAliasesAreCommands(t *testing.T) {
	all := commands()
	for alias, name := range aliases(all) {
		e, err := findCommand(alias)
		if err != nil || e.name != name {
			t.Errorf("%s leads to %q, not %q: %v", alias, e.name, name, err)
		}
	}
	for _, e := range all {
		if found, err := findCommand(e.name); err != nil || found.name != e.name {
			t.Errorf("%s is found as %q: %v", e.name, found.name, err)
		}
		if refusePeer(e.name) != nil {
			t.Errorf("%s is a command, and refused by name", e.name)
		}
		if e.group == "Containers" && !strings.Contains(e.name, " ") {
			if found, err := findCommand("container " + e.name); err != nil || found.name != e.name {
				t.Errorf("container %s is %q: %v", e.name, found.name, err)
			}
		}
	}
}
