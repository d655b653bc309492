package main

// podman with the kernel's overlay, and with runc: crun of Debian 12 refuses
// machines with both cgroup hierarchies.
func podman(args ...string) []string {
	return append([]string{"podman", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}, args...)
}

func startImage(p place, rounds int) (Group, error) {
	g := Group{Name: "Start a container from an image", Goal: "≤ 0.15 ×, aim 0.07 ×",
		Note: "`run --rm --network none IMAGE true`, busybox, unpacked before; every one with a user namespace of 65,536 ids"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	return compare(g, rounds,
		contender{"coracle", []string{"coracle", "run", "--rm", "--network", "none", "localhost/busybox", "true"}},
		contender{"podman", podman("run", "--rm", "--network", "none", "localhost/bench", "true")})
}

// bothHaveBusybox gives busybox to coracle, as localhost/busybox, and to podman, as
// localhost/bench.
func (p place) bothHaveBusybox() error {
	return p.sh(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox
		coracle pull -q oci:$PWD/busybox:latest
		podman --storage-driver overlay pull -q oci:$PWD/busybox:latest
		id=$(podman --storage-driver overlay images -q | head -n 1)
		podman --storage-driver overlay tag $id localhost/bench`)
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
