package main

// keepID is the first start of a large image under another map.
func keepID(p place, _ int) (Group, error) {
	g := Group{Name: "First start with `--userns keep-id` of an image of 1 GB in 70,000 files", Goal: "≤ 0.15 ×",
		Note: "unpacked before in the default map; three rounds in turn, each with a new store"}
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
	run := []string{"run", "--rm", "--network", "none", "--userns", "keep-id", "localhost/large", "/bin/true"}
	return longest(p, g, 3,
		long{"coracle", `coracle --root $DIR/store import large.tar localhost/large
			coracle --root $DIR/store run --rm --network none localhost/large /bin/true`,
			append([]string{"coracle", "--root", "$DIR/store"}, run...)},
		long{"podman", `podman --storage-driver overlay --root $DIR/store import -q large.tar localhost/large`,
			append(podman("--root", "$DIR/store"), run...)})
}
