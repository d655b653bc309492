package images

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"coracle/images/layer"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestImport(t *testing.T) {
	plainTar := tarOf(t, map[string]string{"etc/os-release": "ID=x\n", "big": strings.Repeat("x", 200000)})
	s := newStore(t)
	st := newStage(t, s)
	for what, c := range map[string]struct {
		data      []byte
		mediaType string
	}{
		"plain":            {plainTar, ocispec.MediaTypeImageLayer},
		"gzip":             {gz(t, plainTar), ocispec.MediaTypeImageLayerGzip},
		"zstd":             {zst(t, plainTar), ocispec.MediaTypeImageLayerZstd},
		"gzip with a tail": {append(gz(t, plainTar[:1024]), gz(t, plainTar[1024:])...), ocispec.MediaTypeImageLayerGzip},
	} {
		img, err := s.Import(t.Context(), bytes.NewReader(c.data), ImportOptions{Name: "my-root:" + strings.ReplaceAll(what, " ", ""), Changes: []string{"CMD /bin/x", "ENV A=1 B=2"}})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if img.DiffIDs[0] != sha256Of(plainTar) || img.Layers[0].MediaType != c.mediaType || img.Layers[0].Digest != sha256Of(c.data) {
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

// An import that unpacks meanwhile makes the same image, and its layer once.
func TestImportAndUnpack(t *testing.T) {
	plainTar := tarOf(t, map[string]string{"etc/os-release": "ID=x\n", "big": strings.Repeat("x", 3<<20), "usr/a": "b"})
	for what, data := range map[string][]byte{"plain": plainTar, "gzip": gz(t, plainTar), "zstd": zst(t, plainTar)} {
		s := newStore(t)
		st := newStage(t, s)
		for range 2 { // the second time the layer is there already
			img, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{Name: "x", Class: class, Stage: st.get})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			n := st.unpacked
			dirs, err := s.Layers(t.Context(), img, class, st.get)
			if err != nil || readLayers(t, dirs, "etc/os-release") != "ID=x\n" || st.unpacked != n || img.DiffIDs[0] != sha256Of(plainTar) {
				t.Errorf("%s: %v, %d unpacked", what, err, st.unpacked)
			}
			if img.Layers[0].Digest != sha256Of(data) || img.Layers[0].Size != int64(len(data)) {
				t.Errorf("%s: the layer is %v", what, img.Layers[0])
			}
			if rec, err := s.LayerRecords(img, class); err != nil || rec[0].DiffID != img.DiffIDs[0] || rec[0].Entries != 3 {
				t.Errorf("%s: %+v, %v", what, rec, err)
			}
		}
		for dir, want := range map[string]int{"tmp": 0, "locks": 0, "leases": 0, "layers": 1} {
			if l, err := os.ReadDir(filepath.Join(s.root, dir)); err != nil || len(l) != want {
				t.Errorf("%s: %s: %v, %v", what, dir, l, err)
			}
		}
		again, err := s.Lookup("x")
		if err != nil {
			t.Fatal(err)
		}
		other := newStage(t, s)
		if _, err := s.Layers(t.Context(), again, "single-1-1", other.get); err != nil || other.unpacked != 1 {
			t.Errorf("%s: the blob for another map: %v", what, err)
		}
	}
}

// What fails in the middle leaves nothing.
func TestImportBreaks(t *testing.T) {
	s := newStore(t)
	st := newStage(t, s)
	before := snapshot(t, s)
	good := tarOf(t, map[string]string{"a": strings.Repeat("b", 3<<20), "c": "d"})
	broken := errors.New("broken")
	noStage := func() (layer.Stage, error) { return &refusing{Stage: st, err: layer.ErrStageGone}, nil }
	for what, c := range map[string]struct {
		in    io.Reader
		stage func() (layer.Stage, error)
		want  error
	}{
		"cut":               {bytes.NewReader(good[:2<<20]), st.get, ErrCorrupt},
		"no end marker":     {bytes.NewReader(good[:len(good)-1024]), st.get, ErrCorrupt},
		"a bad entry":       {bytes.NewReader(tarOf(t, map[string]string{"../a": "x", "b": strings.Repeat("b", 3<<20)})), st.get, ErrCorrupt},
		"cut gzip":          {bytes.NewReader(gz(t, good)[:1000]), st.get, ErrCorrupt},
		"gzip of text":      {bytes.NewReader(gz(t, []byte("hello"))), st.get, ErrCorrupt},
		"xz":                {strings.NewReader("\xfd7zXZ\x00" + strings.Repeat("x", 1000)), st.get, ErrUnsupported},
		"an unread source":  {io.MultiReader(bytes.NewReader(good[:1<<20]), iotest.ErrReader(broken)), st.get, broken},
		"a stage that dies": {bytes.NewReader(good), noStage, layer.ErrStageGone},
	} {
		if _, err := s.Import(t.Context(), c.in, ImportOptions{Name: "x", Class: class, Stage: c.stage}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if what == "a stage that dies" { // the next collection removes what it was about
			if err := s.Collect(t.Context(), st.get); err != nil {
				t.Error(err)
			}
		}
		sameStore(t, what, before, snapshot(t, s))
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
		{`WORKDIR a/b`, config{WorkingDir: "/a/b"}},
		{`STOPSIGNAL SIGINT`, config{StopSignal: "SIGINT"}},
		{`STOPSIGNAL quit`, config{StopSignal: "quit"}},
		{`STOPSIGNAL SIGRTMIN+3`, config{StopSignal: "SIGRTMIN+3"}},
		{`STOPSIGNAL 9`, config{StopSignal: "9"}},
	} {
		var got Settings
		if err := applyChanges(&got, []string{c.line}); err != nil || !reflect.DeepEqual(got.ImageConfig, c.want) {
			t.Errorf("%s: %+v, %v", c.line, got, err)
		}
	}
	var dir Settings
	if err := applyChanges(&dir, []string{"WORKDIR /a", "WORKDIR b", "WORKDIR ../c"}); err != nil || dir.WorkingDir != "/a/c" {
		t.Errorf("%q, %v", dir.WorkingDir, err)
	}
	var env Settings
	if err := applyChanges(&env, []string{"ENV A=1 B=2", "ENV A=3"}); err != nil || !reflect.DeepEqual(env.Env, []string{"A=3", "B=2"}) {
		t.Errorf("%v, %v", env.Env, err)
	}
	for line, want := range map[string]Healthcheck{
		"HEALTHCHECK NONE":          {Test: []string{"NONE"}},
		"HEALTHCHECK CMD curl -f x": {Test: []string{"CMD-SHELL", "curl -f x"}},
		`HEALTHCHECK --interval=5m --timeout=3s  --retries=2 --start-period=1s --start-interval=2s CMD ["a", "b"]`: {Test: []string{"CMD", "a", "b"},
			Interval: 5 * time.Minute, Timeout: 3 * time.Second, Retries: 2, StartPeriod: time.Second, StartInterval: 2 * time.Second},
	} {
		var got Settings
		if err := applyChanges(&got, []string{line}); err != nil || !reflect.DeepEqual(*got.Healthcheck, want) {
			t.Errorf("%s: %+v, %v", line, got.Healthcheck, err)
		}
	}
	for _, bad := range []string{"", "RUN x", "ENV", "ENV A", "ENV A=1 B", `ENV A="x`, "EXPOSE http", "EXPOSE 80/ip", "STOPSIGNAL SIGNOPE", "STOPSIGNAL 99", "STOPSIGNAL 0", "COPY a b", "USER", "HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK --tries=1 CMD x", "HEALTHCHECK CMD [1]"} {
		if err := applyChanges(&Settings{}, []string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
