package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

func measureAll(p place, only string, rounds int) (*Report, error) {
	r := &Report{Machine: machine(p), Peers: peers()}
	for _, g := range []struct {
		name string
		f    func(place, int) (Group, error)
	}{
		{"start", startImage}, {"host", startHost}, {"version", startVersion},
		{"memory", memory}, {"pull", pull}, {"keep-id", keepID},
	} {
		if !strings.Contains(g.name, only) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", g.name)
		group, err := g.f(p, rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		r.Groups = append(r.Groups, group)
	}
	var err error
	r.Inits, err = inits(p)
	return r, err
}

// podman with the kernel's overlay, and with runc: crun of Debian 12 refuses
// machines with both cgroup hierarchies.
func podman(args ...string) []string {
	return append([]string{"podman", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}, args...)
}

func startImage(p place, rounds int) (Group, error) {
	g := Group{Name: "Start a container from an image", Goal: "≤ 0.15 ×, aim 0.07 ×",
		Note: "`run --rm --network none IMAGE true`, busybox, unpacked before; every one with a user namespace of 65,536 ids"}
	if err := p.sh(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox
		coracle pull -q oci:$PWD/busybox:latest
		podman --storage-driver overlay pull -q oci:$PWD/busybox:latest
		id=$(podman --storage-driver overlay images -q | head -n 1)
		podman --storage-driver overlay tag $id localhost/bench`); err != nil {
		return g, err
	}
	return compare(g, rounds,
		contender{"coracle", []string{"coracle", "run", "--rm", "--network", "none", "localhost/busybox", "true"}},
		contender{"podman", podman("run", "--rm", "--network", "none", "localhost/bench", "true")})
}

func startHost(_ place, rounds int) (Group, error) {
	g := Group{Name: "Start a command over the host's own root", Goal: "≤ 2 ×, aim 1.2 ×",
		Note: "`coracle run host` with a single-id map, with disposable writes, /dev, masked paths and the seccomp filter; bubblewrap with the same namespaces, read-only"}
	return compare(g, rounds,
		contender{"coracle", []string{"coracle", "run", "--rm", "--network", "none", "--uidmap", "0:0:1", "--gidmap", "0:0:1", "host", "--", "true"}},
		contender{"coracle, all ids mapped", []string{"coracle", "run", "--rm", "--network", "none", "host", "--", "true"}},
		contender{"bubblewrap", []string{"bwrap", "--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", "true"}})
}

func startVersion(_ place, rounds int) (Group, error) {
	g := Group{Name: "`coracle version`", Goal: "≤ 2 × /bin/true + 3 ms", Note: "what every command pays before it does anything"}
	return compare(g, rounds,
		contender{"coracle version", []string{"coracle", "version"}},
		contender{"podman version", []string{"podman", "--version"}},
		contender{"/bin/true", []string{"/bin/true"}})
}

// memory is what stays resident outside the container while it runs.
func memory(p place, _ int) (Group, error) {
	g := Group{Name: "Resident while a container runs", Unit: "MB", Goal: "≤ 12 MB",
		Note: "coracle: the launcher and its guard, in the foreground; podman: the launcher in the foreground and conmon"}
	if err := p.sh(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox`); err != nil {
		return g, err
	}
	for _, c := range []contender{
		{"coracle", []string{"coracle", "run", "--rm", "--network", "none", "oci:" + p.join("images/busybox") + ":latest", "sleep", "4711"}},
		{"podman", podman("run", "--rm", "--network", "none", "oci:"+p.join("images/busybox")+":latest", "sleep", "4711")},
	} {
		mb, err := resident(c)
		if err != nil {
			return g, err
		}
		g.Rows = append(g.Rows, Row{Program: c.name, Median: mb, Least: mb})
	}
	return g, nil
}

func resident(c contender) (float64, error) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	time.Sleep(3 * time.Second)
	var mb float64
	seen := 0
	all := family(cmd.Process.Pid)
	if out, err := exec.Command("pgrep", "-x", "conmon").Output(); err == nil && c.name == "podman" {
		for f := range strings.FieldsSeq(string(out)) {
			pid, _ := strconv.Atoi(f)
			all = append(all, family(pid)...)
		}
	}
	slices.Sort(all)
	for _, pid := range slices.Compact(all) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(line), "sleep\x00") {
			seen++
			continue
		}
		mb += statusMB(pid, "VmRSS:")
	}
	_ = exec.Command("pkill", "-KILL", "-xf", "sleep 4711").Run()
	if seen == 0 {
		return 0, fmt.Errorf("%s: the container did not start", c.name)
	}
	return mb, nil
}

// pull fetches and unpacks from a registry on the loopback.
func pull(p place, _ int) (Group, error) {
	g := Group{Name: "Pull and unpack a Debian image of 400 MB from a registry on the loopback", Unit: "s", Goal: "≤ 0.6 ×, peak memory ≤ 150 MB",
		Note: "five layers, gzip; three rounds, stores emptied between; podman unpacks while it pulls, so that for coracle the first run counts too"}
	stop, addr, err := startRegistry(p)
	if err != nil {
		return g, err
	}
	defer stop()
	if err := p.sh(bigDebian(addr)); err != nil {
		return g, err
	}
	store := p.join("home/pull")
	times := map[string][]float64{}
	peak := map[string]float64{}
	for range 3 {
		for _, c := range []contender{
			{"coracle", []string{"coracle", "--root", store, "run", "--rm", "--network", "none", "--tls-verify=false", addr + "/big", "/bin/true"}},
			{"podman", []string{"podman", "--storage-driver", "overlay", "--root", store + ".podman", "pull", "-q", "--tls-verify=false", addr + "/big"}},
		} {
			if err := p.sh("unshare --user --map-root-user --map-auto rm -rf " + store + " " + store + ".podman; sync"); err != nil {
				return g, err
			}
			ms, mb, err := once(c.args...)
			if err != nil {
				return g, err
			}
			times[c.name] = append(times[c.name], ms/1000)
			peak[c.name] = max(peak[c.name], mb)
		}
	}
	return summarise(g, times, peak, "coracle", "podman"), nil
}

func summarise(g Group, times map[string][]float64, peak map[string]float64, ours, peer string) Group {
	for _, name := range []string{ours, peer} {
		row := Row{Program: name, Median: median(times[name]), Least: slices.Min(times[name]), Peak: peak[name]}
		if name == ours {
			row.RatioTo, row.Ratio = peer, row.Median/median(times[peer])
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

// bigDebian makes an image of about 400 MB in five layers and pushes it.
func bigDebian(addr string) string {
	return `
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' | awk -v release="$VERSION_CODENAME" '$2 == release { print $1; exit }')
mmdebstrap --quiet --variant=apt --include=gcc,g++,git,python3,vim-nox,build-essential,man-db "$VERSION_CODENAME" big.tar "$mirror"
mkdir big.root && unshare --user --map-root-user --map-auto tar -C big.root --exclude='./dev/*' -xf big.tar
umoci init --layout big && umoci new --image big:latest
n=0
for part in usr/lib/x86_64-linux-gnu usr/lib usr/share usr/bin .; do
	n=$((n + 1))
	[ -d big.root/$part ] || continue
	unshare --user --map-root-user --map-auto tar -C big.root -cf part.tar $part
	unshare --user --map-root-user --map-auto rm -rf big.root/$part || true
	umoci raw add-layer --image big:latest part.tar; rm part.tar
done
skopeo copy -q --dest-tls-verify=false oci:big:latest docker://` + addr + `/big
unshare --user --map-root-user --map-auto rm -rf big.root; rm -rf big big.tar`
}

func startRegistry(p place) (stop func(), addr string, err error) {
	addr = "127.0.0.1:15999"
	config := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + p.join("home/registry") + "}}\nhttp: {addr: '" + addr + "'}\n"
	if err := os.WriteFile(p.join("home/registry.yml"), []byte(config), 0o644); err != nil {
		return nil, "", err
	}
	cmd := exec.Command("docker-registry", "serve", p.join("home/registry.yml"))
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	time.Sleep(time.Second)
	return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, addr, nil
}

// keepID is the first start of a large image under another map.
func keepID(p place, _ int) (Group, error) {
	g := Group{Name: "First start with `--userns keep-id` of an image of 1 GB in 70,000 files", Unit: "s", Goal: "≤ 0.15 ×",
		Note: "unpacked before in the default map; two rounds, each with stores of their own"}
	if err := p.sh(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox
python3 - <<'P'
import io, os, tarfile
with tarfile.open("large.tar", "w") as t:
    data = os.urandom(15000)
    t.add("busybox.root/bin", "bin")
    for n in range(70000):
        i = tarfile.TarInfo(f"data/{n // 500}/{n}"); i.size = len(data); i.mode = 0o644; i.uid = n % 3
        t.addfile(i, io.BytesIO(data))
P
`); err != nil {
		return g, err
	}
	times := map[string][]float64{}
	for range 2 {
		if err := p.sh(`unshare --user --map-root-user --map-auto rm -rf ~/k1 ~/k2
			coracle --root ~/k1 import large.tar large >/dev/null; coracle --root ~/k1 run --rm --network none localhost/large /bin/true || coracle --root ~/k1 run --rm --network none large /bin/true
			podman --storage-driver overlay --root ~/k2 import -q large.tar localhost/large; sync`); err != nil {
			return g, err
		}
		for _, c := range []contender{
			{"coracle", []string{"coracle", "--root", p.join("home/k1"), "run", "--rm", "--network", "none", "--userns", "keep-id", "large", "/bin/true"}},
			{"podman", []string{"podman", "--storage-driver", "overlay", "--root", p.join("home/k2"), "--cgroup-manager", "cgroupfs", "--runtime", "runc", "run", "--rm", "--network", "none", "--userns", "keep-id", "localhost/large", "/bin/true"}},
		} {
			ms, _, err := once(c.args...)
			if err != nil {
				return g, err
			}
			times[c.name] = append(times[c.name], ms/1000)
		}
	}
	_ = p.sh(`unshare --user --map-root-user --map-auto rm -rf ~/k1 ~/k2; rm -f large.tar`)
	return summarise(g, times, nil, "coracle", "podman"), nil
}

// inits reads the initialisation of each package, the median of eleven starts.
func inits(p place) ([]Init, error) {
	millis := map[string][]float64{}
	bytes := map[string]int64{}
	for range 11 {
		cmd := exec.Command(p.join("bin/coracle"), "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, err
		}
		// init NAME @0.1 ms, 0.02 ms clock, 1234 bytes, 5 allocs
		for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
			f := strings.Fields(s.Text())
			if len(f) < 8 || f[0] != "init" {
				continue
			}
			ms, _ := strconv.ParseFloat(f[4], 64)
			millis[f[1]] = append(millis[f[1]], ms)
			bytes[f[1]], _ = strconv.ParseInt(f[7], 10, 64)
		}
	}
	var all []Init
	for name, v := range millis {
		all = append(all, Init{name, median(v), bytes[name]})
	}
	slices.SortFunc(all, func(a, b Init) int {
		if a.Millis != b.Millis {
			if a.Millis > b.Millis {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Package, b.Package)
	})
	return all, nil
}
