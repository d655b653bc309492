// Package images keeps container images: references, registries and archives
// to pull from, and a store that is an OCI image layout.
//
// What comes from outside (a registry, an archive, a directory) is not
// trusted: every byte is checked against its digest and size while it
// streams, every document is bounded, strict JSON, and is refused where two
// readers could understand it differently.
//
// # On disk
//
//	ROOT/oci-layout, index.json, blobs/sha256/…  an OCI image layout (image-spec v1.1 image-layout.md)
//	ROOT/coracle.json                            the version of the store
//	ROOT/layers/<chain id>/<map class>/fs        an unpacked layer, ready as an overlay lower
//	ROOT/cache/names/<hash>.json                 what one name meant when index.json was as it is
//	ROOT/leases/<random>                         what a running pull needs; locked while it runs
//	ROOT/tmp/<random>                            a file being written; locked by its writer
//	ROOT/locks/<object>                          flock files, removed by the last holder
//
// # Locks
//
// All are flock, so that they end with their process. They are taken in this
// order, and only the first two are ever held over network or unpacking:
//
//  1. layer-<chain>-<class>, lower layers before those above them
//  2. blob-<digest>, one at a time
//  3. store: index.json, leases and garbage collection; always short
package images
