package images

import (
	"context"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Load takes all images of an archive or a directory into the store: what save
// of docker, podman, skopeo, buildah, umoci and coracle writes, compressed or not.
// path "-" is in. Of the names of an image those are given that it came with. What came before
// a failure stays. Errors as of Pull.
func (s *Store) Load(ctx context.Context, path string, in *os.File, o PullOptions) ([]*Image, error) {
	want, err := ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	if want.OS == "" {
		want = s.opts.Platform
	}
	s.sweepTemp("tmp")
	f, err := s.openLoaded(ctx, path, in)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer f.close()
	list, err := sourcesIn(keptOpen{f}, path)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var out []*Image
	for _, src := range list {
		p := &pull{s: s, src: src, opts: o, want: want, ref: src.where()}
		img, err := p.run(ctx)
		if p.damaged(err) {
			img, err = p.run(ctx)
		}
		if err != nil {
			s.Collect(context.WithoutCancel(ctx), o.Stage) //nolint:errcheck // the load's own error is what matters
			return out, fmt.Errorf("load %s: %w", path, explainWrite(err, s.root))
		}
		img.Names = src.names()
		out = append(out, img)
	}
	return out, nil
}

func (s *Store) openLoaded(ctx context.Context, path string, in *os.File) (files, error) {
	if path == "-" {
		return s.indexTar(ctx, in)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return openDir(path)
	}
	return s.openTar(ctx, path)
}

// keptOpen are files that several sources read.
type keptOpen struct{ files }

func (keptOpen) close() error { return nil }

// sourcesIn finds the images of an archive or a directory, whichever kind it is.
func sourcesIn(f keptOpen, path string) ([]source, error) {
	has := func(name string) bool {
		r, _, err := f.open(name)
		if err == nil {
			r.Close()
		}
		return err == nil
	}
	if has(ocispec.ImageLayoutFile) { // docker's newer archives are both
		ref := Reference{Transport: OCI, File: path}
		if _, packed := f.files.(*tarFiles); packed {
			ref.Transport = OCIArchive
		}
		return layoutSources(f, ref)
	}
	if isEmptyTar(f.files) {
		return nil, fail(ErrCorrupt, "%s is empty", archiveName(path))
	}
	if !has("manifest.json") {
		return nil, fail(ErrCorrupt, "%s is no image archive: it has neither oci-layout nor manifest.json", archiveName(path)).
			hint("a plain root file system is taken in with coracle import")
	}
	raw, err := readFile(f, "manifest.json", maxManifest)
	if err != nil {
		return nil, err
	}
	var list []dockerItem
	if err := strictJSON(raw, &list); err != nil {
		d, derr := newDirSource(f, Reference{Transport: Dir, File: path})
		if _, perr := parseDocument(raw, ""); derr == nil && perr == nil {
			return []source{d}, nil
		}
		return nil, fail(ErrCorrupt, "read manifest.json").because(err)
	}
	var out []source
	for _, item := range list {
		d := newDockerItem(f, Reference{Transport: DockerArchive, File: path}, item)
		d.bare = true
		if err := d.makeManifest(); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fail(ErrCorrupt, "%s has no image in it", quote(path))
	}
	return out, nil
}

// archiveName is how an archive is called in errors.
func archiveName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return quote(path)
}

func isEmptyTar(f files) bool {
	t, ok := f.(*tarFiles)
	return ok && len(t.members) == 0
}

// layoutSources are the images of a layout's index, an index for several
// platforms among them being one.
func layoutSources(f files, ref Reference) ([]source, error) {
	list, err := readLayoutIndex(f, ref)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fail(ErrCorrupt, "%s has no image in it", quote(ref.File))
	}
	var out []source
	for _, d := range list {
		out = append(out, &layoutSource{files: f, ref: ref, desc: d})
	}
	return out, nil
}

// indexTar finds the members of an archive that is open already.
func (s *Store) indexTar(ctx context.Context, f *os.File) (files, error) {
	t := &tarFiles{file: f, members: map[string]member{}}
	if err := t.uncompress(ctx, s); err != nil {
		t.close()
		return nil, err
	}
	if err := t.scan(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}
