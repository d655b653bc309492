package images

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dirSink writes skopeo's dir: a manifest.json, and blobs named by the hexadecimal
// digits of their digests.
type dirSink struct{ dirLayout }

func openDirSink(ctx context.Context, dir string) (k dirSink, err error) {
	if k.dirLayout, err = openPlace(ctx, dir); err != nil {
		return k, err
	}
	others, err := isOthers(dir, "version")
	if others {
		err = fail(nil, "write an image into %s: it has other files in it", quote(dir)).hint("name a new or an empty directory")
	}
	if err == nil { // the mark is the first: when this one is killed, the next one goes on
		err = k.put("version", 0, func(w io.Writer) error { _, err := io.WriteString(w, dirVersion); return err })
	}
	if err != nil {
		k.close()
	}
	return k, err
}

const dirVersion = "Directory Transport Version: 1.1\n"

func (d dirSink) blob(ctx context.Context, x part, seen func([]byte)) error {
	if d.has(x.desc.Digest.Encoded(), x.desc.Size) {
		return nil
	}
	return d.put(x.desc.Digest.Encoded(), x.desc.Size, func(w io.Writer) error { return copySeen(ctx, w, x, seen) })
}

func (d dirSink) manifest(_ context.Context, raw []byte, desc ocispec.Descriptor, top bool) error {
	name := desc.Digest.Encoded() + ".manifest.json"
	if top {
		name = "manifest.json"
	}
	return d.put(name, int64(len(raw)), func(w io.Writer) error { _, err := w.Write(raw); return err })
}
