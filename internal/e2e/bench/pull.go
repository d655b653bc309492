package main

import (
	"os"
	"os/exec"
	"time"
)

// pull fetches and unpacks from a registry on the loopback.
func pull(p place, _ int) (Group, error) {
	g := Group{Name: "Pull and unpack a Debian image of 400 MB from a registry on the loopback", Goal: "≤ 0.4 ×, and ≤ 1.25 × the archives alone; peak memory ≤ 150 MB",
		Note: "six layers, gzip; three rounds in turn, each with a new store; podman unpacks while it pulls, so that for coracle the first run counts too; the archives alone: gzip -dc | tar -x of all layers at the same time, from files, without a network, digests or overlay's marks"}
	stop, addr, err := startRegistry(p)
	if err != nil {
		return g, err
	}
	defer stop()
	if err := p.sh(bigDebian + pushBig(addr)); err != nil {
		return g, err
	}
	return longest(p, g, 3,
		long{"coracle", "", []string{"coracle", "--root", "$DIR/store", "run", "--rm", "--network", "none", "--tls-verify=false", addr + "/big", "/bin/true"}},
		long{"gzip and tar", "", []string{"unshare", "--user", "--map-root-user", "--map-auto", "bash", "-euo", "pipefail", "-c", tarTogether, p.join("images/big"), "$DIR"}},
		long{"podman", "", []string{"podman", "--storage-driver", "overlay", "--root", "$DIR/store", "pull", "-q", "--tls-verify=false", addr + "/big"}})
}

// tarTogether unpacks the layers of the layout $0 below $1, each beside the others.
const tarTogether = `jq -r .layers[].digest $0/blobs/sha256/$(jq -r .manifests[0].digest $0/index.json | cut -d: -f2) | cut -d: -f2 |
xargs -P 6 -I{} bash -euo pipefail -c 'mkdir $1/{}; gzip -dc $0/blobs/sha256/{} | tar -x -C $1/{}' $0 $1`

// bigDebian makes an image of about 400 MB in six layers, once. It removes
// nothing (see longest).
const bigDebian = `
[ -f big/complete ] || {
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' | awk -v release="$VERSION_CODENAME" '$2 == release { print $1; exit }')
mmdebstrap --quiet --mode=unshare --format=directory --variant=apt --include=gcc,g++,git,python3,vim-nox,build-essential,man-db "$VERSION_CODENAME" big.root "$mirror"
umoci init --layout big && umoci new --image big:latest
n=0 packed=()
for part in usr/lib/gcc usr/lib/x86_64-linux-gnu usr/lib usr/share usr/bin .; do
	[ -d big.root/$part ] || continue
	unshare --user --map-root-user --map-auto tar -C big.root --anchored "${packed[@]}" --exclude='./dev/*' -cf part$((++n)).tar $part
	umoci raw add-layer --image big:latest part$n.tar
	packed+=(--exclude=$part --exclude=./$part)
done
touch big/complete
}
`

func pushBig(addr string) string {
	return "skopeo copy -q --dest-tls-verify=false oci:big:latest docker://" + addr + "/big"
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
