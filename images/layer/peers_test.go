package layer

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		need(t, false, name)
	}
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	return out
}

// A real tree of this machine, packed by GNU tar in each of its formats, must
// come out as GNU tar unpacks it.
func TestAsGNUTar(t *testing.T) {
	for _, format := range []string{"gnu", "pax", "ustar"} {
		e := localEnv(t)
		src := "/usr/share/perl5"
		if _, err := os.Stat(src); err != nil {
			src = "/usr/share/doc"
		}
		packed := filepath.Join(e.root, "tar")
		run(t, "tar", "--format="+format, "--xattrs", "-cf", packed, "-C", src, "--exclude=./*/*/*/*/*", ".", "-C", "/", "etc/alternatives", "var/log")
		theirs := filepath.Join(e.root, "theirs")
		os.Mkdir(theirs, 0o755)
		run(t, "tar", "--xattrs", "-xpf", packed, "-C", theirs)
		data, err := os.ReadFile(packed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.unpack(t, "ours", data); err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		got, want := treeOf(t, filepath.Join(e.root, "ours/fs"), "owner mtime xattrs"), treeOf(t, theirs, "owner mtime xattrs")
		for _, implied := range []string{"etc", "var"} {
			delete(got, implied)
			delete(want, implied)
		}
		if len(want) < 100 {
			t.Fatalf("only %d entries were compared", len(want))
		}
		sameTrees(t, got, want)
	}
}

// Three layers that umoci wrote must come out, stacked, as umoci unpacks them.
func TestAsUmoci(t *testing.T) {
	e := stageEnv(t, true)
	local := localEnv(t)
	work := t.TempDir()
	img := filepath.Join(work, "img")
	run(t, "umoci", "init", "--layout", img)
	run(t, "umoci", "new", "--image", img+":a")
	step := func(from, to, script string) {
		t.Helper()
		b := filepath.Join(work, "b-"+to)
		run(t, "umoci", "unpack", "--image", img+":"+from, b)
		run(t, "sh", "-ec", "cd "+b+"/rootfs; "+script)
		run(t, "umoci", "repack", "--image", img+":"+to, b)
	}
	step("a", "b", `mkdir -p etc usr/lib var/x/y; cp -a /usr/bin/env /usr/bin/id usr/lib; ln -s usr/lib lib; echo a >etc/a; ln etc/a etc/b
		chown 5:6 etc/a; chmod 4750 etc/b; mkfifo var/p; touch -d 2001-02-03 var/x/y; chmod 2711 var/x; truncate -s 1M var/sparse; setfattr -n user.k -v v etc/a`)
	step("b", "c", `rm etc/b; echo more >>etc/a; rm -r var/x; mkdir -m 700 var/x; echo z >var/x/z; ln usr/lib/env usr/lib/env2; rm var/p`)
	step("c", "d", `rm -r usr; mkdir usr; echo u >usr/u; chown -h 7:8 lib; rm var/sparse; ln -s nowhere var/sparse`)
	want := filepath.Join(work, "b-want")
	run(t, "umoci", "unpack", "--image", img+":d", want)

	layers := run(t, "sh", "-ec", `cd `+img+`
		m=$(sed -n 's/.*"digest":"sha256:\([0-9a-f]*\)"[^}]*"ref.name":"d".*/\1/p' index.json)
		[ -n "$m" ] || m=$(tr '{' '\n' <index.json | grep -B1 '"org.opencontainers.image.ref.name":"d"' | sed -n 's/.*sha256:\([0-9a-f]*\).*/\1/p')
		tr '{' '\n' <blobs/sha256/$m | sed -n 's/.*layer.v1.tar+gzip","digest":"sha256:\([0-9a-f]*\)".*/\1/p'`)
	names := bytes.Fields(layers)
	if len(names) != 3 {
		t.Fatalf("the image has %d layers: %s", len(names), layers)
	}
	var dirs, lowers []string
	for i, n := range names {
		data, err := os.ReadFile(filepath.Join(img, "blobs/sha256", string(n)))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint(i)
		if _, err := local.unpack(t, name, data); err != nil {
			t.Fatal(err)
		}
		if err := local.Finish(t.Context(), FinishRequest{Dir: name + "/fs", Lowers: lowers}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.unpack(t, name, data, func(r *Request) { r.Record = true }); err != nil { // all owners are foreign there
			t.Fatal(err)
		}
		lowers = append([]string{name + "/fs"}, lowers...)
		dirs = append([]string{filepath.Join(local.root, name, "fs")}, dirs...)
	}
	copied := mergedCopy(t, dirs)
	sameTrees(t, treeOf(t, copied, "owner mtime xattrs"), treeOf(t, want+"/rootfs", "owner mtime xattrs"))
}

// mergedCopy copies what the kernel's overlay shows of layers.
func mergedCopy(t *testing.T, dirs []string) string {
	t.Helper()
	m, out := t.TempDir(), t.TempDir()
	lower := ""
	for _, d := range dirs {
		lower += d + ":"
	}
	run(t, "unshare", "-m", "sh", "-ec", `mount -t overlay overlay -o "userxattr,lowerdir=$1" "$2"; cp -a "$2/." "$3"; umount -l "$2"`,
		"sh", lower[:len(lower)-1], m, out)
	return out
}
