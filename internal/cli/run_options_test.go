package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/internal/engine"
)

// parseRunLine reads a `coracle run` line without its first two words.
func parseRunLine(args []string) (engine.RunOptions, error) {
	e, err := findCommand("run")
	if err != nil {
		return engine.RunOptions{}, err
	}
	cmd := &runCmd{}
	p := newParser(e, cmd, &globals{})
	help, err := p.parse(args)
	if err != nil {
		return engine.RunOptions{}, err
	}
	if help {
		return engine.RunOptions{}, errors.New("help")
	}
	return cmd.options()
}

// describe names each option that differs from that of a bare `run`.
func describe(o engine.RunOptions) string {
	bare := engine.RunOptions{Pull: "missing", SigProxy: true, Format: "text"}
	var out []string
	describeFields(reflect.ValueOf(o), reflect.ValueOf(bare), &out)
	slices.Sort(out)
	return strings.Join(out, " ")
}

func describeFields(v, bare reflect.Value, out *[]string) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case f.Kind() == reflect.Struct:
			describeFields(f, bare.Field(i), out)
		case f.Kind() == reflect.Func, reflect.DeepEqual(f.Interface(), bare.Field(i).Interface()):
		case f.Kind() == reflect.Bool && f.Bool():
			*out = append(*out, name)
		case f.Kind() == reflect.Slice && f.Len() == 0: // no arguments, as nil
		default:
			*out = append(*out, name+"="+describeValue(f))
		}
	}
}

func describeValue(f reflect.Value) string {
	switch {
	case f.Kind() == reflect.Pointer:
		return describeValue(f.Elem())
	case f.Kind() == reflect.Slice:
		return "[" + strings.Join(f.Interface().([]string), "|") + "]"
	case f.Type() == reflect.TypeFor[time.Duration]():
		return f.Interface().(time.Duration).String()
	}
	return fmt.Sprint(f.Interface())
}

// words splits a line of a testdata file as a shell would: quotes and
// backslashes, nothing else.
func words(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	var word strings.Builder
	var quote rune
	started, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, started = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ':
			if started {
				out = append(out, word.String())
				word.Reset()
				started = false
			}
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if quote != 0 {
		t.Fatalf("open quote in %q", line)
	}
	if started {
		out = append(out, word.String())
	}
	return out
}

// TestRunLines compares command lines as docker's and podman's documentation
// has them with what the engine is asked for. testdata/run.txt has a line,
// then the options behind `=>`, or the message behind `!>`.
func TestRunLines(t *testing.T) {
	f, err := os.Open("testdata/run.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	count := 0
	for scan := bufio.NewScanner(f); scan.Scan(); {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		count++
		input, want, good := strings.Cut(line, " => ")
		if !good {
			var ok bool
			if input, want, ok = strings.Cut(line, " !> "); !ok {
				t.Fatalf("neither => nor !> in %q", line)
			}
		}
		opts, err := parseRunLine(words(t, strings.TrimPrefix(input, "run")))
		switch {
		case good && err != nil:
			t.Errorf("%s\n\tfailed: %v\n\twant:   %s", input, err, want)
		case good && describe(opts) != want:
			t.Errorf("%s\n\tgot:  %s\n\twant: %s", input, describe(opts), want)
		case !good && err == nil:
			t.Errorf("%s\n\tgot:  %s\n\twant an error: %s", input, describe(opts), want)
		case !good && !strings.Contains(err.Error(), want):
			t.Errorf("%s\n\tfailed: %v\n\twant:   %s", input, err, want)
		}
	}
	if count < 150 {
		t.Errorf("only %d lines were read", count)
	}
}

// TestRunFillsEveryField fails when spec.Options or engine.RunOptions gets a
// field that no flag sets.
func TestRunFillsEveryField(t *testing.T) {
	f, err := os.ReadFile("testdata/run.txt")
	if err != nil {
		t.Fatal(err)
	}
	// Set by the command itself, or flags of a later version.
	others := []string{"AutoSize", "Left", "Subnet", "Subnet6", "RunRoot", "Progress", "Plan", "Stdin", "Stdout", "Stderr"}
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			if field.Type.Kind() == reflect.Struct {
				check(field.Type)
				continue
			}
			seen := strings.Contains(string(f), " "+field.Name+"=") ||
				slices.Contains(strings.Fields(string(f)), field.Name)
			if !seen && !slices.Contains(others, field.Name) {
				t.Errorf("no line of testdata/run.txt sets %s.%s", typ.Name(), field.Name)
			}
		}
	}
	check(reflect.TypeFor[engine.RunOptions]())
}

// featureFlags are the flags of section 3 of the feature list, with those of
// docker's and podman's manuals that it leaves out.
const featureFlags = `
-i -t -d --rm --name -e --env-file --env-host --unsetenv -w -u --group-add --entrypoint --init --init-path --tty
--interactive --attach --detach-keys --sig-proxy --stop-signal --stop-timeout --timeout --umask --tz --pid --ipc --uts
--preserve-fds --rootfs --platform --pull --quiet --cidfile --pidfile --replace --restart --log-driver --log-opt --report
--userns --uidmap --gidmap --subuidname --subgidname --passwd --passwd-entry --group-entry --hostuser
-v --mount --tmpfs --read-only --read-only-tmpfs --volumes-from --shm-size --device --device-cgroup-rule
--storage-driver --image-volume --secret --workdir
--security-opt --cap-add --cap-drop --privileged --sysctl --landlock
-p -P --network --network-alias --ip --ip6 --mac-address --hostname --add-host --dns --dns-search --dns-option --expose
--no-hosts --http-proxy --link --allow-net --net-log --pcap
--memory --memory-reservation --memory-swap --memory-swappiness --cpus --cpu-shares --cpu-period --cpu-quota
--cpuset-cpus --cpuset-mems --pids-limit --blkio-weight --device-read-bps --device-write-bps --device-read-iops
--device-write-iops --ulimit --oom-score-adj --oom-kill-disable --cgroup-parent --cgroupns --cgroup-conf --cgroups --gpus
--label --label-file --annotation --health-cmd --health-interval --health-retries --health-timeout --health-start-period
--no-healthcheck
-a -c -h -l -m -q --detach --env --user --volume --publish --publish-all --net --dns-opt --arch --os --variant --authfile
--blkio-weight-device --cert-dir --chrootdirs --conmon-pidfile --cpu-count --cpu-percent --cpu-rt-period --cpu-rt-runtime
--creds --decryption-key --disable-content-trust --domainname --dry-run --env-merge --format --group-entry
--health-log-destination --health-max-log-count --health-max-log-size --health-on-failure --health-start-interval
--health-startup-cmd --health-startup-interval --health-startup-retries --health-startup-success --health-startup-timeout
--hosts-file --io-maxbandwidth --io-maxiops --isolation --kernel-memory --link-local-ip --no-hostname --passwd-fd
--personality --pod --pod-id-file --preserve-fd --rdt-class --requires --retry --retry-delay --rmi --runtime --sdnotify
--seccomp-policy --shm-size-systemd --storage-opt --systemd --tls-verify --unsetenv-all --use-api-socket --volume-driver
--deny-net --root --runroot --debug --log --log-format`

// TestEveryKnownFlagIsAnswered: a flag of docker or podman is taken, or
// refused by name, with a reason that says what to do or that it never comes.
func TestEveryKnownFlagIsAnswered(t *testing.T) {
	taken, refused := 0, 0
	for _, flag := range strings.Fields(featureFlags) {
		e, _ := findCommand("run")
		p := newParser(e, &runCmd{}, &globals{})
		name := strings.TrimLeft(flag, "-")
		kind := p.longKind(name)
		if !strings.HasPrefix(flag, "--") {
			_, kind = p.shortFlag(name)
		}
		_, known := p.cmd.(*runCmd).refused(name)
		_, err := p.parse([]string{flag, "1", "image"})
		switch {
		case kind != flagUnknown && known:
			t.Errorf("%s is a flag and stands in the list of refusals", flag)
		case kind != flagUnknown:
			taken++
		case err == nil:
			t.Errorf("%s is no flag, and was taken", flag)
		case strings.Contains(err.Error(), flag+" is not supported yet: "), strings.Contains(err.Error(), flag+" is refused: "):
			refused++
		default:
			t.Errorf("%s is neither taken nor refused by name: %v", flag, err)
		}
	}
	t.Logf("%d taken, %d refused by name", taken, refused)
}

func TestRefusedForEver(t *testing.T) {
	for flag, want := range map[string]string{
		"--device-cgroup-rule": "root",
		"--oom-kill-disable":   "cgroup v1",
		"--link":               "legacy",
	} {
		_, err := parseRunLine([]string{flag, "x", "image"})
		if err == nil || !strings.Contains(err.Error(), flag+" is refused: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
		if hintOf(err) == "" {
			t.Errorf("%s: no hint", flag)
		}
	}
}

// TestRefusalListsAreClean: no name stands twice, and reasons are words of a
// sentence that goes on.
func TestRefusalListsAreClean(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range runRefusals() {
		for _, name := range strings.Fields(r.flags) {
			if seen[name] {
				t.Errorf("%q stands twice in the refusals", name)
			}
			seen[name] = true
		}
		if r.reason == "" || strings.HasSuffix(r.reason, ".") {
			t.Errorf("the reason %q", r.reason)
		}
	}
}
