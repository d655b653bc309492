package main

// push sends the image of the pull group to a repository that is new each time. An
// image that has the name of no registry has no blobs there to mount.
func push(p place, _ int) (Group, error) {
	g := Group{Name: "Push a Debian image of 400 MB to a registry on the loopback", Goal: "≤ 0.7 ×; a second push sends no blobs",
		Note: "six layers, gzip, from the store and from an OCI layout; three rounds in turn, each to a new repository"}
	stop, addr, err := startRegistry(p)
	if err != nil {
		return g, err
	}
	defer stop()
	if err := p.sh(bigDebian); err != nil {
		return g, err
	}
	// $DIR, with its slashes, is the repository's name. skopeo remembers which repository has a
	// blob, and would mount it.
	return longest(p, g, 3,
		long{"coracle", "coracle --root $DIR/store pull -q oci:big:latest", []string{"coracle", "--root", "$DIR/store", "push", "-q", "big:latest", addr + "/push$DIR"}},
		long{"coracle, again", "coracle --root $DIR/store pull -q oci:big:latest\ncoracle --root $DIR/store push -q big:latest " + addr + "/push$DIR", []string{"coracle", "--root", "$DIR/store", "push", "-q", "big:latest", addr + "/push$DIR"}},
		long{"skopeo", "", []string{"env", "XDG_DATA_HOME=$DIR", "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:" + p.join("images/big") + ":latest", "docker://" + addr + "/push$DIR"}})
}

// imagesMany lists 500 images.
func imagesMany(p place, rounds int) (Group, error) {
	g := Group{Name: "List 500 images", Goal: "≤ 50 ms", Note: "`images` with 500 images, and with none"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	many := p.join("home/manyimages")
	// A root of one directory, with another label each time: another configuration, manifest and id.
	script := "mkdir -p one/etc && tar -cf one.tar -C one . && seq 500 | xargs -P 2 -I{} coracle --root " + many + " import -q -c 'LABEL n={}' one.tar many{} >/dev/null"
	if err := p.sh(script); err != nil {
		return g, err
	}
	return compare(g, rounds,
		contender{"coracle, 500", []string{"coracle", "--root", many, "images"}},
		contender{"coracle, none", []string{"coracle", "images"}})
}
