package main

// commit makes an image of a container that has changed ten files of a large one.
func commit(p place, rounds int) (Group, error) {
	g := Group{Name: "Commit ten changed files over a Debian image of 400 MB", Goal: "≤ 150 ms",
		Note: "five files of the image's changed, two new, two removed, one renamed; each time a new image of the same container, whose name moves on"}
	const change = "for f in /etc/passwd /etc/group /etc/profile /usr/share/common-licenses/GPL-2 /usr/bin/which.debianutils; do echo >>$f; done; " +
		"echo new >/root/new; echo new >/srv/new; rm /etc/motd /etc/issue; mv /etc/issue.net /etc/issue"
	if err := p.sh(bigDebian + `
coracle pull -q oci:big:latest
coracle run --name ten --network none localhost/big sh -c '` + change + `'
podman --storage-driver overlay pull -q oci:$PWD/big:latest >podman.id
podman --storage-driver overlay --cgroup-manager cgroupfs --runtime runc run --name ten --network none "$(tail -n 1 podman.id)" sh -c '` + change + `'`); err != nil {
		return g, err
	}
	return compare(g, min(rounds, 10),
		contender{"coracle", []string{"coracle", "commit", "-q", "ten", "of-ten"}},
		contender{"podman", podman("commit", "-q", "ten", "of-ten")})
}
