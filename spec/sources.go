package spec

import (
	"crypto/sha256"
	"encoding/hex"
)

// Sources answers what mounts name beside paths of the host. It makes nothing
// that a container could be noticed by: a volume that is not there yet is
// described as it will be.
type Sources interface {
	// Volume describes a volume, there or to be made.
	Volume(name string) (Volume, error)
	// Mounts are what another container was given (--volumes-from).
	Mounts(container string) ([]Mounted, error)
	// Image finds the root of another image (--mount type=image), or of a
	// directory in it. The image is fetched where it is missing.
	Image(name, subpath string) (ImageRoot, error)
	// Secret says whether there is a secret of that name, and what it is called.
	Secret(name string) (id string, err error)
}

// Volume is where a volume's data is.
type Volume struct {
	Source    string   // the directory on the host
	Tmpfs     bool     // it is no directory but a tmpfs with Options (--opt type=tmpfs)
	Options   []string // of the mount: nodev, noexec, ro, or a tmpfs's size=…
	Anonymous bool
}

// ImageRoot is a read-only mount of an image: a directory to be bound, or the
// options of an overlay of its layers.
type ImageRoot struct {
	Bind    string
	Overlay []string // options; upperdir and workdir may be added
	ID      string   // of the image
}

// Mounted is something that a container was given by its user, its image or
// another container: what inspect shows, what --volumes-from hands on, and by
// which volumes are in use. The engine makes the volumes, and fills them.
type Mounted struct {
	Type        string   `json:"type"` // bind, volume or image
	Name        string   `json:"name,omitempty"`
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Options     []string `json:"options,omitempty"` // as in config.json
	ReadOnly    bool     `json:"readOnly,omitempty"`

	Anonymous bool `json:"anonymous,omitempty"` // a volume that goes with its container
	NoCopy    bool `json:"noCopy,omitempty"`    // a volume that does not take what the image has there
	Overlay   bool `json:"overlay,omitempty"`   // writes do not reach the source
}

// AnonymousName is the name of a container's volume at a destination, 64 hex
// digits as podman's: whoever knows the container knows the volume.
func AnonymousName(id, destination string) string {
	sum := sha256.Sum256([]byte(id + "\x00" + destination))
	return hex.EncodeToString(sum[:])
}

// noSources is for who has none.
type noSources struct{}

func (noSources) Volume(string) (Volume, error)    { return Volume{}, bad("there is no store of volumes") }
func (noSources) Mounts(string) ([]Mounted, error) { return nil, bad("there are no other containers") }
func (noSources) Image(string, string) (ImageRoot, error) {
	return ImageRoot{}, bad("there is no store of images")
}
func (noSources) Secret(string) (string, error) { return "", bad("there is no store of secrets") }

func (g *generator) sources() Sources {
	if g.in.Sources == nil {
		return noSources{}
	}
	return g.in.Sources
}
