package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// peers are images made by umoci, buildah, podman and skopeo, once a run.
type peers struct {
	dir string
	err error
}

var peerImages = sync.OnceValue(func() *peers {
	dir, err := os.MkdirTemp("", "coracle-images-")
	p := &peers{dir: dir, err: err}
	if err == nil {
		p.err = p.make()
	}
	return p
})

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	code := m.Run()
	if os.Getenv("CORACLE_PEERS_MADE") != "" {
		os.RemoveAll(peerImages().dir)
	}
	os.Exit(code)
}

func (p *peers) make() error {
	os.Setenv("CORACLE_PEERS_MADE", "1")
	script := `set -e
cd "$1"
umask 022
umoci init --layout u
umoci new --image u:v1
mkdir -p root/bin root/etc
echo hello >root/etc/motd
head -c 100000 /dev/urandom >root/bin/tool
ln root/bin/tool root/bin/tool2
umoci unpack --image u:v1 bundle
cp -a root/. bundle/rootfs/
umoci repack --refresh-bundle --image u:v1 bundle
cp bundle/rootfs/etc/motd bundle/rootfs/etc/motd2
umoci repack --refresh-bundle --image u:v1 bundle
rm bundle/rootfs/bin/tool2
umoci repack --image u:v1 bundle
umoci config --image u:v1 --config.cmd /bin/tool --config.env A=b
umoci tag --image u:v1 v2
umoci insert --image u:v1 --tag inserted root/etc/motd /etc/inserted
export STORAGE="--root $1/st --runroot $1/rr --storage-driver vfs"
c=$(buildah $STORAGE from scratch)
buildah $STORAGE add $c root / >/dev/null
buildah $STORAGE config --cmd '["/bin/tool"]' --env A=b $c
buildah $STORAGE commit -q $c oci-archive:b-oci.tar:v1 >/dev/null
buildah $STORAGE commit -q -f docker $c docker-archive:b-docker.tar:me/x:2 >/dev/null
buildah $STORAGE commit -q -f docker $c dir:b-dir >/dev/null
buildah $STORAGE commit -q $c localhost/pp:1 >/dev/null
buildah $STORAGE tag localhost/pp:1 localhost/pp:2
buildah $STORAGE manifest create ml >/dev/null
buildah $STORAGE manifest add --arch s390x ml localhost/pp:1 >/dev/null
buildah $STORAGE manifest push -q --all ml oci:b-multi
podman $STORAGE save -q -o p-docker.tar localhost/pp:1 localhost/pp:2
podman $STORAGE save -q --format oci-archive -o p-oci.tar localhost/pp:1
skopeo copy -q oci:u:v1 docker-archive:s-docker.tar:x:1
skopeo copy -q oci:u:v1 oci-archive:s-oci.tar:some/name:3
skopeo copy -q oci:u:v1 dir:s-dir
skopeo copy -q --dest-compress --dest-compress-format zstd oci:u:v1 dir:s-zstd
gzip -k s-docker.tar
zstd -q s-oci.tar
buildah $STORAGE rm -a >/dev/null
buildah $STORAGE rmi -a -f >/dev/null
`
	out, err := exec.Command("sh", "-c", script, "sh", p.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func needPeers(t *testing.T) string {
	t.Helper()
	needs(t, "umoci", "buildah", "podman", "skopeo", "zstd", "gzip")
	p := peerImages()
	if p.err != nil {
		if os.Getenv("CORACLE_MUST_WORK") == "1" {
			t.Fatal(p.err)
		}
		t.Skip(p.err)
	}
	return p.dir
}

func TestPeersImages(t *testing.T) {
	dir := needPeers(t)
	for _, c := range []struct {
		ref    string
		names  []string
		layers int
	}{
		{"oci:" + dir + "/u:v1", []string{"localhost/u:v1"}, 3},
		{"oci:" + dir + "/u:inserted", []string{"localhost/u:inserted"}, 4}, // a layer without padding and end marker
		{"oci-archive:" + dir + "/b-oci.tar", []string{"localhost/b-oci:v1"}, 1},
		{"oci-archive:" + dir + "/b-oci.tar:v1", []string{"localhost/b-oci:v1"}, 1},
		{"docker-archive:" + dir + "/b-docker.tar", []string{"docker.io/me/x:2"}, 1},
		{"docker-archive:" + dir + "/b-docker.tar:me/x:2", []string{"docker.io/me/x:2"}, 1},
		{"dir:" + dir + "/b-dir", []string{"localhost/b-dir:latest"}, 1},
		{"docker-archive:" + dir + "/p-docker.tar", []string{"localhost/pp:1", "localhost/pp:2"}, 1},
		{"docker-archive:" + dir + "/p-docker.tar:localhost/pp:2", []string{"localhost/pp:2"}, 1},
		{"oci-archive:" + dir + "/p-oci.tar", []string{"localhost/pp:1"}, 1},
		{"docker-archive:" + dir + "/s-docker.tar", []string{"docker.io/library/x:1"}, 3},
		{"docker-archive:" + dir + "/s-docker.tar.gz", []string{"docker.io/library/x:1"}, 3},
		{"oci-archive:" + dir + "/s-oci.tar", []string{"docker.io/some/name:3"}, 3},
		{"oci-archive:" + dir + "/s-oci.tar.zst", []string{"docker.io/some/name:3"}, 3},
		{"dir:" + dir + "/s-dir", []string{"localhost/s-dir:latest"}, 3},
		{"dir:" + dir + "/s-zstd", []string{"localhost/s-zstd:latest"}, 3},
	} {
		s := newStore(t)
		st := newStage(t, s)
		img, err := s.Pull(t.Context(), c.ref, PullOptions{Class: class, Stage: st.get})
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		if !slices.Equal(img.Names, c.names) || len(img.Layers) != c.layers || img.Config.Config.Cmd[0] != "/bin/tool" {
			t.Errorf("%s: %v, %d layers, %v", c.ref, img.Names, len(img.Layers), img.Config.Config.Cmd)
		}
		dirs, err := s.Layers(t.Context(), img, class, st.get)
		if err != nil || readLayers(t, dirs, "etc/motd") != "hello\n" {
			t.Errorf("%s: %v", c.ref, err)
		}
		if out := run(t, "skopeo", "inspect", "--config", "oci:"+s.root+":"+img.Names[0]); !strings.Contains(out, "/bin/tool") {
			t.Errorf("%s: skopeo reads %s", c.ref, out)
		}
		if strings.HasSuffix(c.ref, ":inserted") && readLayers(t, dirs, "etc/inserted") != "hello\n" {
			t.Errorf("%s: the inserted file", c.ref)
		}
		// A second time nothing is unpacked, and the image is the same.
		n := st.unpacked
		if again, err := s.Pull(t.Context(), c.ref, PullOptions{Class: class, Stage: st.get}); err != nil || again.ID != img.ID || st.unpacked != n {
			t.Errorf("%s again: %v, %d unpacked", c.ref, err, st.unpacked-n)
		}
	}
}

func TestPeersImagesRefused(t *testing.T) {
	dir := needPeers(t)
	write(t, dir+"/empty.tar", nil)
	write(t, dir+"/text.tar", []byte("no archive"))
	data, err := os.ReadFile(dir + "/s-docker.tar")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/cut.tar", data[:len(data)/2])
	for _, c := range []struct {
		ref  string
		kind error
		hint string
	}{
		{"oci:" + dir + "/u", ErrAmbiguous, "v1 | v2"},
		{"oci:" + dir + "/u:v3", ErrNotFound, "v1"},
		{"oci:" + dir + "/nothing", ErrNotFound, ""},
		{"oci:" + dir + "/s-dir", ErrCorrupt, "dir:"},
		{"dir:" + dir + "/u", ErrCorrupt, "oci:"},
		{"oci-archive:" + dir + "/s-docker.tar", ErrCorrupt, "docker-archive:"},
		{"docker-archive:" + dir + "/s-oci.tar", ErrCorrupt, "oci-archive:"},
		{"docker-archive:" + dir + "/u", ErrCorrupt, "oci:"},
		{"docker-archive:" + dir + "/p-docker.tar:pp:3", ErrNotFound, "localhost/pp:1"},
		{"docker-archive:" + dir + "/text.tar", ErrCorrupt, ""},
		{"docker-archive:" + dir + "/empty.tar", ErrCorrupt, ""},
		{"docker-archive:" + dir + "/cut.tar", ErrCorrupt, ""},
		{"oci:" + dir + "/b-multi", ErrPlatform, "--platform"},
	} {
		s := newStore(t)
		before := snapshot(t, s)
		_, err := s.Pull(t.Context(), c.ref, PullOptions{})
		if !errors.Is(err, c.kind) || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %v; hint %q", c.ref, err, hintOf(err))
		}
		sameStore(t, c.ref, before, snapshot(t, s))
	}
}

// startRegistry runs Debian's docker-registry on a free loopback port.
func startRegistry(t *testing.T) string {
	t.Helper()
	needs(t, "docker-registry", "skopeo")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, fmt.Appendf(nil, "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", t.TempDir(), host))
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 200 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

func TestDebiansRegistry(t *testing.T) {
	dir := needPeers(t)
	host := startRegistry(t)
	push := func(from, to string, more ...string) {
		run(t, "skopeo", append(append([]string{"copy", "-q", "--dest-tls-verify=false"}, more...), from, "docker://"+host+"/"+to)...)
	}
	push("oci:"+dir+"/u:v1", "me/oci:1")
	push("oci:"+dir+"/u:v1", "me/docker:1", "--format", "v2s2")
	push("dir:"+dir+"/s-zstd", "me/zstd:1")
	push("oci:"+dir+"/b-multi", "me/multi:1", "--all")
	s := newStore(t)
	st := newStage(t, s)
	for _, name := range []string{"me/oci:1", "me/docker:1", "me/zstd:1"} {
		img, err := s.Pull(t.Context(), host+"/"+name, PullOptions{Class: class, Stage: st.get})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var peer struct{ Digest string }
		out := run(t, "skopeo", "inspect", "--tls-verify=false", "docker://"+host+"/"+name)
		if err := json.Unmarshal([]byte(out), &peer); err != nil || peer.Digest != string(img.Served) {
			t.Errorf("%s: %s here, %s there, %v", name, img.Served, peer.Digest, err)
		}
		dirs, err := s.Layers(t.Context(), img, class, st.get)
		if err != nil || readLayers(t, dirs, "etc/motd2") != "hello\n" {
			t.Errorf("%s: %v", name, err)
		}
		// skopeo reads the store in place, and copies all of the image out of it.
		run(t, "skopeo", "copy", "-q", "oci:"+s.root+":"+img.Names[0], "dir:"+t.TempDir())
	}
	if _, err := s.Pull(t.Context(), host+"/me/multi:1", PullOptions{}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("%v", err)
	}
	if img, err := s.Pull(t.Context(), host+"/me/multi:1", PullOptions{Platform: "linux/s390x"}); err != nil || img.Source == img.Manifest.Digest {
		t.Errorf("%v", err)
	}
	if _, err := s.Pull(t.Context(), host+"/me/none:1", PullOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	// And what skopeo writes into the store is an image of ours.
	run(t, "skopeo", "copy", "-q", "oci:"+dir+"/u:v1", "oci:"+s.root+":localhost/by-skopeo:1")
	if img, err := s.Lookup("by-skopeo:1"); err != nil {
		t.Errorf("%v", err)
	} else if _, err := s.Layers(t.Context(), img, class, st.get); err != nil {
		t.Errorf("%v", err)
	}
}
