package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Inspection is what inspect shows of an image, with docker's names.
type Inspection struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      string
	Author       string
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64 // bytes in the store, compressed as they are
	Config       json.RawMessage
	RootFS       InspectionRootFS
	GraphDriver  InspectionGraph
	Labels       map[string]string
	Annotations  map[string]string
	Digest       string // of the manifest, where it came from
	ManifestType string
	History      []ocispec.History
	LayerSizes   []int64
	LayerTypes   []string
}

// InspectionRootFS lists the diffIDs.
type InspectionRootFS struct {
	Type   string
	Layers []string
}

// InspectionGraph says where the unpacked layers are.
type InspectionGraph struct {
	Name string
	Data map[string]string
}

// Inspect describes an image of the store.
func (s *Store) Inspect(name string) (*Inspection, error) {
	img, err := s.Lookup(name)
	if err != nil {
		return nil, err
	}
	raw, err := s.RawConfig(img)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", name, err)
	}
	var whole struct {
		Config  json.RawMessage `json:"config"`
		Comment string          `json:"comment"`
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", name, err)
	}
	rawManifest, err := s.RawManifest(img)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", name, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(rawManifest, &m); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", name, err)
	}
	if whole.Config == nil {
		whole.Config = json.RawMessage("{}")
	}
	i := &Inspection{ID: string(img.ID), Comment: whole.Comment, Author: img.Config.Author,
		Architecture: img.Config.Architecture, Variant: img.Config.Variant, Os: img.Config.OS, Size: img.Size, Config: whole.Config,
		RootFS: InspectionRootFS{Type: "layers"}, Labels: img.Config.Config.Labels, Annotations: m.Annotations,
		Digest: string(img.Served), ManifestType: img.Manifest.MediaType, History: img.Config.History,
		GraphDriver: InspectionGraph{Name: "overlay", Data: map[string]string{"Root": s.root}}}
	if !img.Created.IsZero() {
		i.Created = img.Created.Format(time.RFC3339Nano)
	}
	if i.Comment == "" && len(i.History) > 0 {
		i.Comment = i.History[len(i.History)-1].Comment
	}
	i.RepoTags, i.RepoDigests = img.repo()
	for n, d := range img.DiffIDs {
		i.RootFS.Layers = append(i.RootFS.Layers, string(d))
		i.LayerSizes = append(i.LayerSizes, img.Layers[n].Size)
		i.LayerTypes = append(i.LayerTypes, img.Layers[n].MediaType)
	}
	return i, nil
}

// repo splits the names into docker's two lists: those with a tag, and the
// repositories with the digests that name the image there.
func (i *Image) repo() (tags, digests []string) {
	tags, digests = []string{}, []string{}
	for _, n := range i.Names {
		ref, err := ParseReference(n)
		if err != nil || ref.Transport != Docker {
			tags = append(tags, n)
			continue
		}
		if ref.Tag != "" {
			tags = append(tags, n)
		}
		digests = append(digests, ref.Name()+"@"+string(i.Served), ref.Name()+"@"+string(i.Source))
		if ref.Digest != "" {
			digests = append(digests, ref.Name()+"@"+string(ref.Digest))
		}
	}
	slices.Sort(digests)
	return tags, slices.Compact(digests)
}
