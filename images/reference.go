package images

import (
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Transport says where an image comes from.
type Transport string

// The transports that references name; a bare name means Docker.
const (
	Docker        Transport = "docker"
	OCI           Transport = "oci"
	OCIArchive    Transport = "oci-archive"
	DockerArchive Transport = "docker-archive"
	Dir           Transport = "dir"
)

const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io"
	officialRepo  = "library/"
	localDomain   = "localhost"
	maxPath       = 255
	maxTag        = 128
)

// Reference is a parsed image name. For Docker, Domain, Path and at least one
// of Tag and Digest are set. For the others File is the path, and Member the
// name inside it ("" when there is only one), or @N for the Nth of a docker
// archive, from 0.
type Reference struct {
	Transport Transport

	Domain string // docker.io, localhost:5000, …
	Path   string // library/busybox
	Tag    string // "latest" when the reference had neither tag nor digest
	Digest digest.Digest
	Short  bool // no registry was named: docker.io is a guess

	File, Member string
}

// ParseReference reads name[:tag][@digest] as docker and podman do
// (distribution/reference, docker.io and library/ by default), docker://REF,
// oci:PATH[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME|:@N] and
// dir:PATH. Its errors are ErrInvalidReference.
func ParseReference(s string) (Reference, error) {
	if rest, ok := strings.CutPrefix(s, "docker://"); ok {
		return parseNamed(s, rest)
	}
	for _, t := range [...]Transport{OCI, OCIArchive, DockerArchive, Dir} {
		if rest, ok := strings.CutPrefix(s, string(t)+":"); ok {
			return parseLocal(s, t, rest)
		}
	}
	if why, help := foreign(s); why != "" {
		err := invalid(s, why)
		err.Help = help
		return Reference{}, err
	}
	return parseNamed(s, s)
}

// foreign says what a reference is that other tools would understand, and docker.io
// would be asked for otherwise.
func foreign(s string) (why, help string) {
	before, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", ""
	}
	switch before {
	case "docker-daemon":
		return "docker's images are with its daemon", "docker save " + rest + " | coracle load"
	case "containers-storage":
		return "podman's images are in a store of their own", "podman save " + rest + " | coracle load"
	case "ostree", "sif":
		return "there is no transport " + before, "oci:DIR, oci-archive:FILE, docker-archive:FILE and dir:DIR are understood"
	case "http", "https":
		if !strings.HasPrefix(rest, "//") {
			break
		}
		return "it is an address, not a name", "leave " + before + ":// away"
	}
	return "", ""
}

func parseLocal(whole string, t Transport, rest string) (Reference, error) {
	r := Reference{Transport: t, File: rest}
	if t != Dir {
		// The first colon, as containers/image has it: a path with a colon
		// cannot be named.
		r.File, r.Member, _ = strings.Cut(rest, ":")
	}
	if r.File == "" {
		return Reference{}, invalid(whole, "no path after "+string(t)+":")
	}
	if strings.IndexByte(rest, 0) >= 0 {
		return Reference{}, invalid(whole, "NUL in the path")
	}
	if place, ok := strings.CutPrefix(r.Member, "@"); ok && t == DockerArchive {
		n, err := strconv.ParseUint(place, 10, 31)
		if err != nil {
			return Reference{}, invalid(whole, "after the @ stands the number of an image, from 0").hint("%s:%s:@0 is the first", t, r.File)
		}
		r.Member = "@" + strconv.FormatUint(n, 10)
	} else if t == DockerArchive && r.Member != "" {
		m, err := parseNamed(whole, r.Member)
		if err != nil {
			return Reference{}, err
		}
		r.Member = m.String()
	}
	return r, nil
}

func invalid(s, why string) *Error {
	return fail(ErrInvalidReference, "invalid image reference %q: %s", s, why)
}

func parseNamed(whole, s string) (Reference, error) {
	if s == "" {
		return Reference{}, invalid(whole, "it is empty")
	}
	for _, start := range []string{"/", "./", "../", "~"} {
		if strings.HasPrefix(s, start) {
			err := invalid(whole, "it is a path")
			err.Help = "say what is there: oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR; for run also rootfs:DIR, a root file system"
			return Reference{}, err
		}
	}
	if isHex(s, 64) {
		return Reference{}, invalid(whole, "64 hexadecimal digits are an image id, not a name")
	}
	r := Reference{Transport: Docker}
	name, dgst, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if why := checkDigest(dgst); why != "" {
			return Reference{}, invalid(whole, why)
		}
		r.Digest = digest.Digest(dgst)
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag = name[:i], name[i+1:]
		if why := checkTag(r.Tag); why != "" {
			return Reference{}, invalid(whole, why)
		}
	} else if !hasDigest {
		r.Tag = "latest"
	}
	r.Domain, r.Path, r.Short = splitDomain(name)
	if why := checkDomain(r.Domain); why != "" {
		return Reference{}, invalid(whole, why)
	}
	if why := checkPath(r.Path); why != "" {
		err := invalid(whole, why)
		if low := strings.ToLower(r.Path); low != r.Path && checkPath(low) == "" {
			err.hint("use %s", strings.Replace(whole, strings.TrimPrefix(r.Path, officialRepo), strings.TrimPrefix(low, officialRepo), 1))
		}
		return Reference{}, err
	}
	return r, nil
}

// splitDomain follows distribution/reference's splitDockerDomain: what stands
// before the first slash is a registry when it has a dot, a colon or an upper
// case letter, or is "localhost".
func splitDomain(name string) (domain, path string, short bool) {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || (!strings.ContainsAny(first, ".:") && first != localDomain && strings.ToLower(first) == first) {
		domain, path, short = defaultDomain, name, true
	} else {
		domain, path = first, rest
	}
	if domain == legacyDomain {
		domain = defaultDomain
	}
	if domain == defaultDomain && !strings.Contains(path, "/") {
		path = officialRepo + path
	}
	return domain, path, short
}

// String is the full name: docker.io/library/busybox:latest.
func (r Reference) String() string {
	if r.Transport != Docker {
		s := string(r.Transport) + ":" + r.File
		if r.Member != "" {
			s += ":" + r.Member
		}
		return s
	}
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Name is the repository with its registry, without tag and digest.
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// Familiar is the short form that docker shows: busybox:latest.
func (r Reference) Familiar() string {
	if r.Transport != Docker || r.Domain != defaultDomain {
		return r.String()
	}
	s := strings.TrimPrefix(r.String(), defaultDomain+"/")
	if p, ok := strings.CutPrefix(s, officialRepo); ok && !strings.Contains(r.Path[len(officialRepo):], "/") {
		return p
	}
	return s
}

// key is the name an image is kept under. A digest says more than a tag, so
// name:tag@digest is kept as name@digest, as docker and podman do.
func (r Reference) key() string {
	if r.Digest != "" {
		r.Tag = ""
	}
	return r.String()
}
