package images

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestImport(t *testing.T) {
	plainTar := tarOf(t, map[string]string{"etc/os-release": "ID=x\n", "big": strings.Repeat("x", 200000)})
	s := newStore(t)
	st := newStage(t, s)
	for what, c := range map[string]struct {
		data      []byte
		mediaType string
		same      bool // stored as it came
	}{
		"plain":            {plainTar, ocispec.MediaTypeImageLayerGzip, false},
		"gzip":             {gz(t, plainTar), ocispec.MediaTypeImageLayerGzip, true},
		"zstd":             {zst(t, plainTar), ocispec.MediaTypeImageLayerZstd, true},
		"gzip with a tail": {append(gz(t, plainTar[:1024]), gz(t, plainTar[1024:])...), ocispec.MediaTypeImageLayerGzip, true},
	} {
		img, err := s.Import(t.Context(), bytes.NewReader(c.data), ImportOptions{Name: "my-root:" + strings.ReplaceAll(what, " ", ""), Changes: []string{"CMD /bin/x", "ENV A=1 B=2"}})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if img.DiffIDs[0] != sha256Of(plainTar) || img.Layers[0].MediaType != c.mediaType || c.same && img.Layers[0].Digest != sha256Of(c.data) {
			t.Errorf("%s: %v", what, img.Layers)
		}
		if img.Names[0] != "localhost/my-root:"+strings.ReplaceAll(what, " ", "") || img.Created.IsZero() || img.Config.Architecture != defaultPlatform().Architecture {
			t.Errorf("%s: %+v", what, img)
		}
		got, err := s.Lookup("my-root:" + strings.ReplaceAll(what, " ", ""))
		if err != nil || got.ID != img.ID || !reflect.DeepEqual(got.Config.Config.Env, []string{"A=1", "B=2"}) {
			t.Errorf("%s: %v", what, err)
		}
		dirs, err := s.Layers(t.Context(), img, class, st.get)
		if err != nil || readLayers(t, dirs, "etc/os-release") != "ID=x\n" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if img, err := s.Import(t.Context(), bytes.NewReader(plainTar), ImportOptions{}); err != nil || len(img.Names) != 0 {
		t.Errorf("nameless: %v", err)
	}
}

func TestImportRefuses(t *testing.T) {
	s := newStore(t)
	good := tarOf(t, map[string]string{"a": "b"})
	before := snapshot(t, s)
	for what, data := range map[string][]byte{
		"nothing": nil, "text": []byte(strings.Repeat("no tar ", 200)), "cut gzip": gz(t, good)[:30], "short": good[:100],
		"xz": append([]byte("\xfd7zXZ\x00"), good...), "gzip of text": gz(t, []byte("hello")), "damaged gzip": append(gz(t, good)[:20], make([]byte, 900)...),
	} {
		if _, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{Name: "x"}); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := s.Import(t.Context(), bytes.NewReader(good), ImportOptions{Name: "Bad"}); !errors.Is(err, ErrInvalidReference) {
		t.Errorf("%v", err)
	}
	if _, err := s.Import(t.Context(), bytes.NewReader(good), ImportOptions{Changes: []string{"RUN x"}}); err == nil || hintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if _, err := s.ImportFile(t.Context(), filepath.Join(t.TempDir(), "none"), ImportOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := s.ImportFile(t.Context(), t.TempDir(), ImportOptions{}); err == nil || !strings.Contains(hintOf(err), "tar") {
		t.Errorf("%v", err)
	}
	sameStore(t, "refused imports", before, snapshot(t, s))
}

func TestChanges(t *testing.T) {
	type config = ocispec.ImageConfig
	none := struct{}{}
	for _, c := range []struct {
		line string
		want config
	}{
		{`CMD ["a", "b c"]`, config{Cmd: []string{"a", "b c"}}},
		{`cmd a b`, config{Cmd: []string{"/bin/sh", "-c", "a b"}}},
		{`CMD=/bin/bash`, config{Cmd: []string{"/bin/sh", "-c", "/bin/bash"}}},
		{`ENTRYPOINT ["/x"]`, config{Entrypoint: []string{"/x"}}},
		{`ENTRYPOINT []`, config{Entrypoint: []string{}}},
		{`ENV A=1 B="2 3" C=4\ 5 D='"'`, config{Env: []string{"A=1", "B=2 3", "C=4 5", `D="`}}},
		{`ENV A one two`, config{Env: []string{"A=one two"}}},
		{`LABEL a.b=c`, config{Labels: map[string]string{"a.b": "c"}}},
		{`EXPOSE 80 53/udp 1-3`, config{ExposedPorts: map[string]struct{}{"80/tcp": none, "53/udp": none, "1-3/tcp": none}}},
		{`VOLUME ["/a", "/b"]`, config{Volumes: map[string]struct{}{"/a": none, "/b": none}}},
		{`VOLUME /a /b`, config{Volumes: map[string]struct{}{"/a": none, "/b": none}}},
		{`WORKDIR /w`, config{WorkingDir: "/w"}},
		{`USER 1:2`, config{User: "1:2"}},
		{`STOPSIGNAL SIGINT`, config{StopSignal: "SIGINT"}},
	} {
		var got config
		if err := applyChanges(&got, []string{c.line}); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.line, got, err)
		}
	}
	var env config
	if err := applyChanges(&env, []string{"ENV A=1 B=2", "ENV A=3"}); err != nil || !reflect.DeepEqual(env.Env, []string{"A=3", "B=2"}) {
		t.Errorf("%v, %v", env.Env, err)
	}
	for _, bad := range []string{"", "RUN x", "ENV", "ENV A", "ENV A=1 B", `ENV A="x`, "EXPOSE http", "EXPOSE 80/ip", "WORKDIR a", "COPY a b", "USER"} {
		if err := applyChanges(&config{}, []string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
