package spec

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

type rootFiles map[string]string

func (r rootFiles) ReadFile(name string) ([]byte, error) {
	if text, ok := r[name]; ok {
		return []byte(text), nil
	}
	return nil, fs.ErrNotExist
}

var wholeImage = ImageFacts{
	ImageConfig: ImageConfig{
		User: "ada", Env: []string{"A=b"}, Entrypoint: []string{"/e"}, Cmd: []string{"c", "d"}, WorkingDir: "srv", StopSignal: "SIGINT",
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}}, Volumes: map[string]struct{}{"/v": {}, "/data": {}},
		Labels: map[string]string{"own": "1", "org.opencontainers.image.author": "the label's", "run.oci.hooks.stdout": "/etc/x", "org.systemd.property.X": "1"},
	},
	OS: "linux", Architecture: "arm64", Variant: "v8", OSVersion: "1", OSFeatures: []string{"x", "y"}, Author: "Ada", Created: "2001-02-03T04:05:06Z",
}

// Field by field what image-spec's conversion.md says, and back.
func TestFromImage(t *testing.T) {
	root := rootFiles{"/etc/passwd": "ada:x:7:8::/home/ada:/bin/sh\n", "/etc/group": "g:x:9:ada\nfar:x:99999:ada\n"}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65535}}
	s, volumes, notes, err := FromImage(wholeImage, root, ExampleOptions{}, ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/e", "c", "d"}; !slices.Equal(s.Process.Args, want) || s.Process.Cwd != "/srv" || s.Root.Readonly || s.Root.Path != "rootfs" {
		t.Errorf("%q in %s of %+v", s.Process.Args, s.Process.Cwd, s.Root)
	}
	if env := s.Process.Env; len(env) != 2 || !strings.HasPrefix(env[0], "PATH=/usr/local/sbin:") || env[1] != "A=b" {
		t.Errorf("environment %q", env)
	}
	if u := s.Process.User; u.UID != 7 || u.GID != 8 || !slices.Equal(u.AdditionalGids, []uint32{9}) {
		t.Errorf("user %+v", u)
	}
	const i = "org.opencontainers.image."
	want := map[string]string{i + "os": "linux", i + "architecture": "arm64", i + "variant": "v8", i + "os.version": "1", i + "os.features": "x,y",
		i + "author": "the label's", i + "created": "2001-02-03T04:05:06Z", i + "stopSignal": "SIGINT", i + "exposedPorts": "53/udp,80/tcp", "own": "1"}
	if !reflect.DeepEqual(s.Annotations, want) {
		t.Errorf("annotations %v", s.Annotations)
	}
	if !slices.Equal(volumes, []string{"/data", "/v"}) || len(notes) != 2 {
		t.Errorf("volumes %q, notes %q", volumes, notes)
	}
	s2, _, notes, err := FromImage(wholeImage, root, ExampleOptions{UID: 1000}, ids, ids)
	if err != nil || len(s2.Process.User.AdditionalGids) > 0 || len(notes) != 3 {
		t.Errorf("as an ordinary user: %+v, %q, %v", s2.Process.User, notes, err)
	}
	back := wholeImage.ImageConfig
	ToImage(s, s, &back)
	if !reflect.DeepEqual(back, wholeImage.ImageConfig) {
		t.Errorf("a configuration that nobody changed gives %+v", back)
	}
	var fresh ImageConfig
	ToImage(s, nil, &fresh)
	if !slices.Equal(fresh.Cmd, s.Process.Args) || fresh.User != "7:8" || fresh.StopSignal != "SIGINT" || len(fresh.ExposedPorts) != 2 || fresh.Labels["own"] != "1" || len(fresh.Labels) != 1 || fresh.WorkingDir != "/srv" {
		t.Errorf("without an image: %+v", fresh)
	}
}

func TestFromImageDefaults(t *testing.T) {
	one := []specs.LinuxIDMapping{{Size: 1}}
	s, _, _, err := FromImage(ImageFacts{ImageConfig: ImageConfig{Env: []string{"PATH=/bin"}}}, rootFiles{}, ExampleOptions{}, one, one)
	if err != nil || !slices.Equal(s.Process.Args, []string{"sh"}) || s.Process.Cwd != "/" || !slices.Equal(s.Process.Env, []string{"PATH=/bin"}) || s.Process.User.UID != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, user := range []string{"nobody-here", "5", "0:7"} {
		if _, _, _, err := FromImage(ImageFacts{ImageConfig: ImageConfig{User: user}}, rootFiles{}, ExampleOptions{}, one, one); err == nil {
			t.Errorf("user %s is accepted", user)
		}
	}
}
