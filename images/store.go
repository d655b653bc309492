package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// storeVersion is raised when an older coracle could do harm to the store.
const storeVersion = 1

const versionFile = "coracle.json"

// Options are what a store is opened with; the zero value will do.
type Options struct {
	// InUse says who holds which image, by image id: the names of containers, and
	// the absolute paths where it is mounted. nil: nobody.
	InUse func() (map[digest.Digest][]string, error)
	// Platform is taken from indexes unless another is asked for; zero: this machine's.
	Platform ocispec.Platform
	// Additional are the directories of stores that are read, too, in this order.
	Additional []string
	// Limits bound what a layer may become; zero: the unpacker's defaults.
	Limits LayerLimits
}

// LayerLimits are the unpacker's: bytes, entries, ratio.
type LayerLimits = layer.Limits

// Store is an image store. Its methods may be used by several goroutines and
// processes at once.
type Store struct {
	root string
	opts Options

	additional []*Store // each with readOnly
	readOnly   bool
}

// Open opens the store at root, or makes one where nothing or an empty
// directory stands. Its errors are ErrStore.
func Open(root string, opts Options) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if opts.Platform.OS == "" {
		opts.Platform = defaultPlatform()
	}
	s := &Store{root: root, opts: opts}
	ok, err := s.check()
	if !ok && err == nil {
		if err = s.create(); err == nil {
			_, err = s.check()
		}
	}
	if err != nil {
		return nil, err
	}
	return s, s.openAdditional()
}

// Root is the absolute directory of the store.
func (s *Store) Root() string { return s.root }

func defaultPlatform() ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if p.Architecture == "arm64" {
		p.Variant = "v8"
	}
	return p
}

func unusable(root, why string) *Error {
	return fail(ErrStore, "open the store %s: %s", root, why)
}

// What create writes.
const layoutText = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

func versionText() string { return fmt.Sprintf(`{"storeVersion":%d}`, storeVersion) }

// asMade says whether the store is as this program makes it, to the letter. It
// is on the path of every start, and takes a tenth of what check takes.
func (s *Store) asMade() bool {
	for _, f := range [][2]string{{ocispec.ImageLayoutFile, layoutText}, {versionFile, versionText()}} {
		var buf [128]byte
		fd, err := unix.Open(s.root+"/"+f[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		n, err := unix.Read(fd, buf[:])
		unix.Close(fd)
		if err != nil || strings.TrimSuffix(string(buf[:n]), "\n") != f[1] {
			return false
		}
	}
	return true
}

// check says whether a usable store stands there.
func (s *Store) check() (bool, error) {
	if s.asMade() {
		return true, nil
	}
	var version struct {
		StoreVersion int `json:"storeVersion"`
	}
	var layout ocispec.ImageLayout
	hasLayout, err := s.readSmall(ocispec.ImageLayoutFile, &layout)
	if err != nil {
		return false, err
	}
	hasVersion, err := s.readSmall(versionFile, &version)
	if err != nil {
		return false, err
	}
	switch {
	case !hasLayout || !hasVersion:
		return false, nil
	case version.StoreVersion > storeVersion:
		return false, unusable(s.root, fmt.Sprintf("it was made by a newer coracle (store version %d, this one knows %d)", version.StoreVersion, storeVersion)).
			hint("upgrade coracle, or choose another store with --root")
	case version.StoreVersion < 1:
		return false, unusable(s.root, versionFile+" has no store version").hint("move %s away, or choose another store with --root", s.root)
	case layout.Version != ocispec.ImageLayoutVersion:
		return false, unusable(s.root, fmt.Sprintf("its OCI layout has version %s, known is %s", quote(layout.Version), ocispec.ImageLayoutVersion)).
			hint("choose another store with --root")
	}
	return true, nil
}

// readSmall reads a JSON file of the store; false when there is none.
func (s *Store) readSmall(name string, into any) (bool, error) {
	path := filepath.Join(s.root, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unusable(s.root, "read "+name).because(err).
			hint("%s must be a directory that you may read: choose another store with --root", s.root)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, unusable(s.root, name+" is not what a store has").because(err).
			hint("move %s away, or choose another store with --root", s.root)
	}
	return true, nil
}

var ownDirs = [...]string{"blobs/sha256", "layers", "tmp", "locks", "leases", "cache/names"}

func (s *Store) create() error {
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return unusable(s.root, "make it").because(err).hint("choose a place that is yours with --root")
	}
	if err := s.refuseForeign(); err != nil {
		return err
	}
	for _, d := range ownDirs {
		if err := os.MkdirAll(filepath.Join(s.root, d), 0o755); err != nil {
			return unusable(s.root, "make "+d).because(err).hint("choose a place that is yours with --root")
		}
	}
	l, err := s.acquire(context.Background(), "store")
	if err != nil {
		return err
	}
	defer l.Release()
	if ok, err := s.check(); ok || err != nil {
		return err // another process was faster
	}
	// The layout file is the last: where it and the version stand, all does.
	if _, err := os.Lstat(filepath.Join(s.root, ocispec.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		if err := s.replace(filepath.Join(s.root, ocispec.ImageIndexFile), []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)); err != nil {
			return err
		}
	}
	if err := s.replace(filepath.Join(s.root, versionFile), []byte(versionText())); err != nil {
		return err
	}
	return s.replace(filepath.Join(s.root, ocispec.ImageLayoutFile), []byte(layoutText))
}

// refuseForeign keeps us from scattering files into somebody's directory: it
// must be empty, an OCI layout, or one that we were about to make.
func (s *Store) refuseForeign() error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return unusable(s.root, "list it").because(err).hint("choose another store with --root")
	}
	layout, err := os.ReadFile(filepath.Join(s.root, ocispec.ImageLayoutFile))
	if err == nil && bytes.Contains(layout, []byte("imageLayoutVersion")) {
		return nil
	}
	for _, e := range entries {
		switch e.Name() {
		case "blobs", "layers", "tmp", "locks", "leases", "cache", "containers", "volumes", "sandboxes", "denials", "lent",
			ocispec.ImageIndexFile, versionFile:
		default:
			return unusable(s.root, "it is neither empty nor an OCI image layout: it has "+quote(e.Name())).
				hint("choose an empty or new directory with --root")
		}
	}
	return nil
}

func (s *Store) blobPath(d digest.Digest) string {
	return filepath.Join(s.root, "blobs", "sha256", d.Encoded())
}
