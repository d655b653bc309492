package spec

import (
	"errors"
	"strings"
	"testing"
)

// Every flag that is refused, with the words that the user reads.
func TestRefusals(t *testing.T) {
	secret := func(s string) func(*Options) { return func(o *Options) { o.Secrets = []string{s} } }
	volume := func(s string) func(*Options) { return func(o *Options) { o.Volumes = []string{s} } }
	mount := func(s string) func(*Options) { return func(o *Options) { o.Mounts = []string{s} } }
	security := func(s string) func(*Options) { return func(o *Options) { o.SecurityOpt = []string{s} } }
	sysctl := func(s string) func(*Options) { return func(o *Options) { o.Sysctl = []string{s} } }
	ulimit := func(s string) func(*Options) { return func(o *Options) { o.Ulimits = []string{s} } }
	for _, c := range []struct {
		set        func(*Options)
		text, hint string
	}{
		{volume("x:/y:zz"), `--volume "x:/y:zz": unknown option "zz"`, "options are ro, rw"},
		{volume("gone:/y"), `--volume "gone:/y": no volume "gone" can be made`, ""},
		{volume("box:/y:O,ro"), "O and ro contradict", ""},
		{volume("box:/y:idmap=uids=0-1-1;gids=0-1-1"), "a map of its own is not available yet", ""},
		{volume("mem:/y:O"), "the volume mem is a tmpfs", ""},
		{volume("mem:/y:suid"), "nosuid and suid contradict", ""},
		{volume("./data:/y:zz"), `--volume "./data:/y:zz": unknown option "zz"`, "options are ro, rw"},
		{volume("./data:/y:noexe"), `unknown option "noexe"`, "did you mean noexec?"},
		{volume("./data:/y:ro,rw"), "ro and rw contradict each other", ""},
		{volume("./data:/y:"), "", ""},
		{volume("./data:/y:ro,"), `unknown option ""`, ""},
		{volume("./data:/y:ro:z"), "more than SOURCE:DESTINATION:OPTIONS", "--mount"},
		{volume("./data:y"), `the destination "y" is not an absolute path`, ""},
		{volume("./data:/"), "cannot be / itself", ""},
		{volume("./data:/.."), "cannot be / itself", ""},
		{volume(":/y"), "the source is empty", ""},
		{volume("/"), "cannot be / itself", ""},
		{volume("foo"), "must be SOURCE:DESTINATION", "/foo alone"},
		{volume("a/b:/y"), "neither a path nor the name of a volume", "./a/b"},
		{volume("/none:/y"), `--volume "/none:/y": /none does not exist on the host`, "mkdir -p /none"},
		{volume("./data:/y:copy"), "copy fills a named volume", ""},
		{volume("./data:/y:O,ro"), "O and ro contradict", ""},
		{volume("/etc/hosts:/y:O"), "an overlay needs a directory", ""},
		{volume("./data:/y:O,idmap"), "O and idmap", ""},
		{volume("./data:/y:upperdir=/a,workdir=/b"), "belong to an overlay", "add O"},
		{volume("./data:/y:O,upperdir=/a"), "together or not at all", ""},
		{volume("./data:/y:O,upperdir=/a,workdir=/b"), "/a does not exist", ""},
		{volume("./data:/y:idmap=uids=0-0"), "not CONTAINER-HOST-SIZE", ""},
		{volume("./data:/y:idmap=uids=0-1-2#2-9-1;gids=0-1-2"), "a map of its own is not available yet", "idmap alone"},
		{volume("./data:/y:idmap=uids=0-0-1"), "needs both", ""},
		{volume("./data:/y:idmap=uids=0-0-0;gids=0-0-1"), "empty or too long", ""},
		{volume("./data:/y:idmap=uids=4294967295-0-2;gids=0-0-1"), "empty or too long", ""},
		{func(o *Options) { o.Volumes = []string{"./data:/y", "./data:/y/../y"} }, "/y is already the destination of a --volume", ""},
		{func(o *Options) { o.Volumes = []string{"./data:/y"}; o.Tmpfs = []string{"/y/"} }, `--tmpfs "/y/": /y is already`, ""},

		{mount("type=bind,src=data,dst=/y,foo=bar"), `--mount "type=bind,src=data,dst=/y,foo=bar": unknown key "foo" for type=bind`, "keys are source"},
		{mount("type=bind,src=data,dst=/y,tmpfs-size=1"), `unknown key "tmpfs-size" for type=bind`, ""},
		{mount("type=bind,src=data,dst=/y,reedonly"), `unknown key "reedonly"`, ""},
		{mount("type=bind,src=data,dst=/y,readonly=perhaps"), `"perhaps" is not a value for readonly`, "readonly=true"},
		{mount("type=bind,src=data,source=data,dst=/y"), "source is given twice", ""},
		{mount("type=bind,type=tmpfs,dst=/y"), "the type is given twice", ""},
		{mount("type=bind,src=data"), "a destination is missing", ""},
		{mount("type=bind,dst=/y"), "a source is missing", ""},
		{mount("type=bind,src=none,dst=/y"), "/home/me/work/none does not exist", "mkdir -p"},
		{mount("type=bind,src=data,dst=/y,bind-propagation=upwards"), `unknown propagation "upwards"`, "private"},
		{mount("type=bind,src=data,dst=/y,bind-recursive=readonly"), "needs a read-only mount", ""},
		{mount("type=bind,src=data,dst=/y,bind-recursive=no"), `unknown value "no" of bind-recursive`, ""},
		{mount("type=bind,src=data,dst=/y,relabel=me"), `unknown value "me" of relabel`, ""},
		{mount("type=bind,src=data,dst=/y,bind-nonrecursive,bind-recursive=enabled"), "contradict", ""},
		{mount("type=tmpfs,src=data,dst=/y"), "type=tmpfs has no source", ""},
		{mount("type=tmpfs,dst=/y,tmpfs-size=big"), "not a size", "64m"},
		{mount("type=tmpfs,dst=/y,tmpfs-mode=9"), "not an octal mode", ""},
		{mount("type=ramfs,dst=/y,tmpfs-size=1m"), "cannot be limited", "tmpfs"},
		{mount("type=devpts,dst=/y,gid=tty"), "gid needs a number", ""},
		{mount("type=devpts,dst=/y,ro"), `unknown key "ro" for type=devpts`, ""},
		{mount("type=volume,src=/a,dst=/y"), "is not the name of a volume", "type=bind"},
		{mount("type=volume,src=v"), "a destination is missing", ""},
		{mount("src=v,dst=/y,volume-opt=type=tmpfs"), "volume-opt describes", "volume create"},
		{mount("src=v,dst=/y,volume-driver=nfs"), `no volume driver "nfs"`, "local"},
		{mount("src=v,dst=/y,subpath=a"), "a part of a volume", ""},
		{mount("src=v,dst=/y,tmpfs-size=1"), `unknown key "tmpfs-size" for type=volume`, ""},
		{mount("type=image,dst=/y"), "a source is missing", "source=IMAGE"},
		{mount("type=image,src=x,dst=/y,ro,rw"), "ro and rw contradict", ""},
		{mount("type=image,src=x,dst=/y,exec"), `unknown key "exec" for type=image`, ""},
		{mount("type=image,src=none,dst=/y"), `no image "none"`, ""},
		{mount("type=artifact,src=x,dst=/y"), "type=artifact is not available yet", ""},
		{func(o *Options) { o.VolumesFrom = []string{"nobody"} }, `--volumes-from "nobody": no container "nobody"`, ""},
		{func(o *Options) { o.VolumesFrom = []string{"other:rx"} }, `unknown option "rx"`, "ro, rw, z"},
		{func(o *Options) { o.VolumesFrom = []string{"other:ro,rw"} }, "ro and rw contradict", ""},
		{secret("none"), `--secret "none": no secret "none"`, ""},
		{secret("../x"), `"../x" is not the name of a secret`, ""},
		{secret("key,type=disk"), `unknown type "disk"`, "mount or env"},
		{secret("key,mode=9"), "not an octal mode", ""},
		{secret("key,uid=x"), "uid needs a number", ""},
		{secret("key,uid=70000"), "the container has no uid 70000", ""},
		{secret("key,type=env,mode=0400"), "a variable has no mode", ""},
		{secret("key,type=env,target=A=B"), "not the name of a variable", ""},
		{secret("key,target=../../etc/passwd"), "is outside /run/secrets", ""},
		{secret("key,target=/run"), "is a directory of secrets", ""},
		{secret("key,target=/run/secrets"), "is a directory of secrets", ""},
		{secret("key,colour=red"), `unknown key "colour"`, "keys are"},
		{func(o *Options) { o.Secrets = []string{"key", "key,target=key"} }, "another secret is there already: /run/secrets/key", ""},
		{func(o *Options) { o.Secrets, o.Tmpfs = []string{"key,target=/t"}, []string{"/t"} }, "/t is already the destination", ""},
		{mount("type=bnid,src=v,dst=/y"), `unknown type "bnid"`, "type=bind"},
		{mount("type=glob,src=/srv/none*,dst=/y"), "no file of the host matches", ""},
		{mount("type=glob,src=/srv/[,dst=/y"), "bad pattern", ""},
		{mount(`type=bind,src="x`), "not a list of KEY=VALUE", ""},
		{mount(""), "not a list", ""},

		{func(o *Options) { o.Tmpfs = []string{"/t:siz=1m"} }, `unknown option "siz=1m"`, ""},
		{func(o *Options) { o.Tmpfs = []string{"/t:size=101%"} }, "not a share", ""},
		{func(o *Options) { o.Tmpfs = []string{"/t:size=1m,size=2m"} }, "contradict", ""},
		{func(o *Options) { o.Tmpfs = []string{"/t:exec,noexec"} }, "contradict", ""},
		{func(o *Options) { o.Tmpfs = []string{"t"} }, "not an absolute path", ""},
		{func(o *Options) { o.Tmpfs = []string{"/t:huge=much"} }, "unknown value", "never"},
		{func(o *Options) { o.ImageVolume = "tmps" }, "unknown mode", "tmpfs"},
		{func(o *Options) { o.ShmSize = "64q" }, `--shm-size "64q"`, ""},
		{func(o *Options) { o.ShmSize = "1e3" }, "--shm-size", ""},
		{func(o *Options) { o.ShmSize = "-1" }, "--shm-size", ""},
		{func(o *Options) { o.ShmSize, o.IPC = "64m", "host" }, "no /dev/shm of its own", "--ipc host"},

		{func(o *Options) { o.Devices = []string{"/dev/none"} }, "/dev/none does not exist", ""},
		{func(o *Options) { o.Devices = []string{"/dev/fuse:/dev/fuse:r"} }, `"r" cannot be enforced without root`, "leave the permissions out"},
		{func(o *Options) { o.Devices = []string{"/dev/fuse:/dev/fuse:x"} }, `"x" are no permissions`, ""},
		{func(o *Options) { o.Devices = []string{"/etc/hosts"} }, "neither a device nor a directory", ""},
		{func(o *Options) { o.Devices = []string{"/home/me"} }, "holds no devices", ""},
		{func(o *Options) { o.Devices = []string{"nvidia.com/gpu=all"} }, "not available yet", ""},
		{func(o *Options) { o.Devices = []string{"fuse"} }, "not an absolute path", ""},

		{func(o *Options) { o.User = "nobody2" }, `--user "nobody2": no user "nobody2" in the image's /etc/passwd`, "numeric"},
		{func(o *Options) { o.User = "0:nogroup2" }, `no group "nogroup2"`, ""},
		{func(o *Options) { o.User = "70000" }, "the container has no user id 70000, only 0, 1-65536", ""},
		{func(o *Options) { o.User = "0:70000" }, "no group id 70000", ""},
		{func(o *Options) { o.User = "4294967295" }, "no user", ""},
		{func(o *Options) { o.User = "-1" }, "no user", ""},
		{func(o *Options) { o.GroupAdd = []string{"nope"} }, `--group-add "nope": no such group`, ""},
		{func(o *Options) { o.GroupAdd = []string{"70000"} }, "no group id 70000", ""},
		{func(o *Options) { o.GroupAdd = []string{"keep-groups", "1"} }, "cannot be used with other groups", ""},
		{func(o *Options) { o.HostUsers = []string{"ghost"} }, `--hostuser "ghost": no such user`, ""},
		{func(o *Options) { o.PasswdEntry = "a\nroot::0:0::/:/bin/sh" }, "must be one line", ""},

		{func(o *Options) { o.Workdir = "rel" }, `--workdir "rel": must be an absolute path`, ""},
		{func(o *Options) { o.Umask = "8" }, `--umask "8": "8" is not an octal mode up to 0777`, ""},
		{func(o *Options) { o.Umask = "1777" }, "octal mode", ""},
		{func(o *Options) { o.Entrypoint = ptr("") }, "command: none given", "after the image"},
		{func(o *Options) { o.Entrypoint, o.Args = ptr(""), []string{""} }, "the name of the program is empty", ""},
		{func(o *Options) { o.Init, o.PID = true, "host" }, "--init: it must be process 1", "--pid host"},
		{func(o *Options) { o.InitPath = "/nope" }, `--init-path "/nope"`, ""},
		{func(o *Options) { o.Systemd = "alwys" }, `--systemd "alwys": unknown value`, "did you mean always?"},
		{func(o *Options) { o.Systemd, o.PID = "always", "host" }, "systemd must be process 1", "--pid host"},
		{func(o *Options) { o.Systemd, o.Init = "always", true }, "systemd must be process 1", "--init"},
		{func(o *Options) { o.Env = []string{"=x"} }, `--env "=x": a variable needs a name`, ""},
		{func(o *Options) { o.EnvFiles = []string{"nope"} }, `--env-file "nope"`, ""},
		{func(o *Options) { o.EnvFiles = []string{"env"} }, `line 4: the name "B " has a space`, ""},
		{func(o *Options) { o.StopSignal = "TREM" }, `--stop-signal "TREM": unknown signal`, ""},
		{func(o *Options) { o.StopSignal = "65" }, "there is no signal 65", ""},
		{func(o *Options) { o.StopTimeout = ptr(-2) }, `--stop-timeout "-2"`, ""},
		{func(o *Options) { o.PID = "hots" }, `--pid "hots": unknown mode`, "did you mean host?"},
		{func(o *Options) { o.IPC = "container:x" }, "not available yet", ""},
		{func(o *Options) { o.Network = "bridge" }, "only private, builtin, none and host", ""},
		{func(o *Options) { o.Hostname, o.UTS = "x", "host" }, "the host's UTS namespace", ""},
		{func(o *Options) { o.Hostname = "bad name" }, "not a host name", ""},
		{func(o *Options) { o.Hostname = strings.Repeat("a", 65) }, "not a host name", "64"},
		{func(o *Options) { o.TZ = "../../etc/passwd" }, "not the name of a time zone", ""},
		{func(o *Options) { o.TZ = "Nowhere/City" }, `--tz "Nowhere/City"`, "/usr/share/zoneinfo"},
		{func(o *Options) { o.TZ = "zone.tab" }, "is not a time zone file", ""},

		{func(o *Options) { o.AddHosts = []string{"a:host-gateway"} }, "no gateway to the host", ""},
		{func(o *Options) { o.AddHosts, o.Network = []string{"a:host-gateway"}, "host" }, "there is no gateway", "localhost"},
		{func(o *Options) { o.AddHosts = []string{"a:1.2.3"} }, `"1.2.3" is not an IP address`, ""},
		{func(o *Options) { o.AddHosts = []string{"a\nb:1.2.3.4"} }, "is not a host name", ""},
		{func(o *Options) { o.AddHosts, o.NoHosts = []string{"a:1.2.3.4"}, true }, "--no-hosts", ""},
		{func(o *Options) { o.AddHosts = []string{"a"} }, "must be NAME:ADDRESS", ""},
		{func(o *Options) { o.DNS = []string{"1.1.1.1"} }, "without a network there is nothing to ask", ""},
		{func(o *Options) { o.DNS, o.Network = []string{"one"}, "host" }, `--dns "one": not an IP address`, ""},
		{func(o *Options) { o.DNSSearch, o.Network = []string{"a b"}, "host" }, "must be one word", ""},

		{func(o *Options) { o.CapAdd = []string{"NET_ADMINN"} }, `--cap-add "NET_ADMINN": unknown capability`, "did you mean CAP_NET_ADMIN?"},
		{func(o *Options) { o.CapDrop = []string{"foo"} }, `--cap-drop "foo": unknown capability`, ""},
		{func(o *Options) { o.CapAdd, o.CapDrop = []string{"ALL"}, []string{"all"} }, "--cap-drop says ALL as well", ""},
		{func(o *Options) { o.CapAdd, o.CapDrop = []string{"kill"}, []string{"CAP_KILL"} }, "--cap-drop names it as well", ""},
		{security("foo=bar"), `--security-opt "foo=bar": unknown option "foo"`, "seccomp="},
		{security("apparmor=mine"), "AppArmor is not enabled", "unconfined"},
		{security("label=type:x"), "SELinux labels cannot be set", "label=disable"},
		{security("no-new-privileges=maybe"), "is not a value", ""},
		{security("seccomp=none.json"), `--security-opt "seccomp=none.json"`, ""},
		{security("seccomp=bad-seccomp.json"), `--security-opt "seccomp=bad-seccomp.json"`, ""},
		{security("seccomp="), "seccomp needs a value", ""},
		{security("mask=relative"), "not an absolute path", ""},
		{security("unmask=/proc/["), "bad pattern", ""},
		{security("systempaths=confined"), "unknown value", "unconfined"},
		{security("proc-opts=ro"), `unknown option "ro" of proc`, "hidepid"},
		{func(o *Options) { o.SecurityOpt, o.PID = []string{"proc-opts=hidepid=2"}, "host" }, "keeps its options", ""},
		{sysctl("vm.swappiness=1"), `--sysctl "vm.swappiness=1": vm.swappiness belongs to no namespace`, "net.*"},
		{sysctl("net.ipv4.ip_forward"), "must be NAME=VALUE", ""},
		{sysctl("net/../kernel/core_pattern=x"), "is not the name of a sysctl", ""},
		{sysctl("net..x=1"), "is not the name of a sysctl", ""},
		{sysctl("net.=1"), "is not the name of a sysctl", ""},
		{sysctl("kernel.hostname=x"), "a flag of its own", "--hostname x"},
		{func(o *Options) { o.Sysctl, o.Network = []string{"net.core.somaxconn=1"}, "host" }, "the host's network namespace", "--network host"},
		{func(o *Options) { o.Sysctl, o.IPC = []string{"kernel.shmmax=1"}, "host" }, "the host's IPC namespace", "--ipc host"},
		{func(o *Options) { o.Sysctl, o.UTS = []string{"kernel.domainname=x"}, "host" }, "the host's UTS namespace", ""},

		{ulimit("nofle=1"), `--ulimit "nofle=1": unknown limit "nofle"`, "did you mean nofile?"},
		{ulimit("nofile"), "must be NAME=SOFT[:HARD]", ""},
		{ulimit("nofile=2:1"), "the soft limit 2 is above the hard limit 1", ""},
		{ulimit("nofile=-1:5"), "above the hard limit", ""},
		{ulimit("nofile=many"), `"many" is not a number`, ""},
		{ulimit("nofile=-2"), "is not a number", ""},
		{ulimit("nofile=524289"), `--ulimit "nofile=524289": nofile is above your own hard limit of 524288`, "nofile=-1"},
		{func(o *Options) { o.OOMScoreAdj = ptr(-5) }, "below your own of 0", ""},
		{func(o *Options) { o.OOMScoreAdj = ptr(1001) }, "from -1000 to 1000", ""},
		{func(o *Options) { o.Labels = []string{"=x"} }, "has no name", ""},
		{func(o *Options) { o.LabelFiles = []string{"nope"} }, `--label-file "nope"`, ""},
		{func(o *Options) { o.Annotations = []string{"x"} }, "must be NAME=VALUE", ""},
		{func(o *Options) { o.Expose = []string{"0"} }, "not a port", ""},
		{func(o *Options) { o.Expose = []string{"9-8"} }, "not a port", ""},
		{func(o *Options) { o.Expose = []string{"80/icmp"} }, "unknown protocol", ""},
	} {
		name := c.text
		if name == "" { // an empty list of options is no error, in podman neither
			if _, err := Generate(input(with(c.set))); err != nil {
				t.Error(err)
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			_, err := Generate(input(with(c.set)))
			refusal(t, err, c.text, c.hint)
		})
	}
}

func TestRefusalsOfASingleID(t *testing.T) {
	_, err := Generate(input(singleID, func(in *Input) { in.Image.User = "alice" }))
	refusal(t, err, "the container has no user id 1000, only 0", "--user 0:0")
	_, err = Generate(input(singleID, with(func(o *Options) { o.GroupAdd = []string{"audio"} })))
	refusal(t, err, "with a single id there is no other group", "coracle doctor")
}

func TestWhatComesLaterSaysSo(t *testing.T) {
	for _, o := range []Options{
		{Volumes: []string{"./data:/x:idmap=uids=0-1-1;gids=0-1-1"}}, {Mounts: []string{"type=artifact,src=x,dst=/y"}}, {Network: "private"},
		{PID: "container:x"}, {Devices: []string{"v.com/c=x"}},
	} {
		_, err := Generate(input(func(in *Input) { in.Options = o }))
		if !errors.Is(err, ErrLater) || !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", o, err)
		}
		if strings.Count(err.Error(), "not available yet") > 1 || strings.Contains(err.Error(), ": not available yet") {
			t.Errorf("says it twice: %v", err)
		}
	}
}

// An image is not the user's fault, and never a reason for a panic.
func TestOddImages(t *testing.T) {
	for name, image := range map[string]ImageConfig{
		"relative directory": {Cmd: []string{"x"}, WorkingDir: "a/../../b"},
		"odd environment":    {Cmd: []string{"x"}, Env: []string{"", "=", "=x", "NOVALUE", "A=1", "A=2"}},
		"odd volumes":        {Cmd: []string{"x"}, Volumes: map[string]struct{}{"": {}, "..": {}, "rel": {}, "/a/../..": {}}},
		"odd ports":          {Cmd: []string{"x"}, ExposedPorts: map[string]struct{}{"": {}, "x/y/z": {}, "80": {}}},
		"empty entrypoint":   {Cmd: []string{"x"}, Entrypoint: []string{""}},
	} {
		res, err := Generate(input(func(in *Input) { in.Image = image }))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cwd := res.Spec.Process.Cwd; cwd[0] != '/' || strings.Contains(cwd, "..") {
			t.Errorf("%s: cwd %q", name, cwd)
		}
		if res.Spec.Process.Args[0] != "x" {
			t.Errorf("%s: args %q", name, res.Spec.Process.Args)
		}
	}
}
