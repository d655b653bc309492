package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/images"
)

// accessFlags say how a registry is talked to.
type accessFlags struct {
	TLSVerify  *bool  `name:"tls-verify" placeholder:"false" help:"Allow plain HTTP and unknown certificates."`
	CertDir    string `name:"cert-dir" placeholder:"DIR" help:"Authorities (*.crt) and client certificates (*.cert, *.key) for the registry."`
	AuthFile   string `name:"authfile" placeholder:"FILE" help:"Credentials, instead of $REGISTRY_AUTH_FILE, podman's or docker's."`
	Retry      *int   `placeholder:"N" help:"Try N times more where it may help (default: 3)."`
	RetryDelay string `name:"retry-delay" placeholder:"TIME" help:"Wait so long between tries, 5s for example (default: longer each time)."`
	Stall      string `name:"stall-timeout" placeholder:"TIME" help:"Break off and try again when the registry sends nothing for so long, or less than 17 bytes a second (default: 1m)."`
}

func (f accessFlags) access() (images.Access, error) {
	a := images.Access{TLSVerify: f.TLSVerify, CertDir: f.CertDir, AuthFile: f.AuthFile, Retry: f.Retry}
	if f.Retry != nil && *f.Retry < 0 {
		return a, &usageError{msg: fmt.Sprintf("--retry: %d is less than 0", *f.Retry)}
	}
	if f.RetryDelay != "" {
		d, err := time.ParseDuration(f.RetryDelay)
		if err != nil || d < 0 {
			return a, &usageError{msg: fmt.Sprintf("--retry-delay: %q is no time", f.RetryDelay), hint: "5s, 1m30s, …"}
		}
		a.Delay = d
	}
	if f.Stall != "" {
		d, err := time.ParseDuration(f.Stall)
		if err != nil || d <= 0 {
			return a, &usageError{msg: fmt.Sprintf("--stall-timeout: %q is no time", f.Stall), hint: "30s, 5m, …"}
		}
		a.Stall = d
	}
	return a, nil
}

// refusedCreds: a password on a command line can be read by everybody on the
// machine.
func refusedCreds() refusal {
	return refusal{flags: "creds", never: true, reason: "a password on the command line can be read by everybody on this machine", hint: "coracle login, or --authfile"}
}

type pushCmd struct {
	accessFlags      `embed:""`
	All              bool   `help:"The whole index, with the images of all platforms."`
	Compression      string `name:"compression-format" aliases:"compression" placeholder:"KIND" enum:",gzip,zstd,zstd:chunked,none" default:"" help:"Of layers: gzip, zstd, zstd:chunked or none (default: as they are)."`
	CompressionLevel int    `name:"compression-level" placeholder:"N" help:"The compressor's level."`
	Force            bool   `name:"force-compression" help:"Compress layers again that are compressed so already."`
	Format           string `short:"f" placeholder:"FORMAT" enum:",oci,docker,v2s2" default:"" help:"Of the manifest: oci or docker (default: as it came)."`
	DigestFile       string `name:"digestfile" placeholder:"FILE" help:"Write the digest of what was pushed to FILE."`
	Quiet            bool   `short:"q" help:"No progress."`

	Artifact     bool     `help:"Send files: IMAGE is where they go, and FILE[:MEDIA/TYPE]... follow."`
	ArtifactType string   `name:"artifact-type" placeholder:"TYPE" help:"Of an artifact: its media type."`
	Annotation   []string `placeholder:"KEY=VALUE" sep:"none" help:"Of an artifact: a note in its manifest."`
	Subject      string   `placeholder:"REF" help:"Of an artifact: the image in the same repository that it is about."`

	Image       string   `arg:"" name:"IMAGE"`
	Destination []string `arg:"" name:"DESTINATION" optional:""`
}

func (*pushCmd) Help() string {
	return `DESTINATION is REGISTRY/NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG],
docker-archive:FILE[:NAME] or dir:DIR; without it the image's own name. What is
there already is not sent again. Prints the digest.

  coracle push app:1 registry.example.org/team/app:1
  coracle push --compression zstd --digestfile digest app:1
  coracle push --artifact registry.example.org/data:1 a.csv:text/csv
  coracle push --artifact --subject 1 registry.example.org/app a.json`
}

func (*pushCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		refusedCreds(),
		{flags: "a all-tags", reason: "an image is pushed by one name", hint: "name each tag"},
		{flags: "encrypt-layer encryption-key", reason: "layers are not encrypted"},
		{flags: "sign-by sign-by-sigstore sign-by-sigstore-private-key sign-passphrase-file remove-signatures", reason: "signatures are checked, not made", hint: "cosign sign makes one"},
		{flags: "disable-content-trust", never: true, reason: "digests are always verified", hint: "leave it out"},
		{flags: "platform", reason: "one platform's image is pushed, or with --all all of them"},
	}, name)
}

func (c *pushCmd) run(a *app) (int, error) {
	access, err := c.access()
	if err != nil {
		return exitOurs, err
	}
	if err := c.check(); err != nil {
		return exitOurs, err
	}
	if c.Artifact {
		return c.artifact(a, access)
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	o := images.PushOptions{Access: access, All: c.All}
	o.Compression, o.Level, o.Force, o.Format = c.Compression, c.CompressionLevel, c.Force, c.Format
	if o.Format == "v2s2" {
		o.Format = images.FormatDocker
	}
	bars := newProgress(a.err)
	if !c.Quiet {
		o.Progress = bars.add
	}
	out, err := e.Push(ctx, c.Image, append(c.Destination, "")[0], o)
	bars.close()
	if err != nil {
		return exitOurs, err
	}
	return c.pushed(a, out)
}

// check refuses words of images with files, and of files with images.
func (c *pushCmd) check() error {
	if dir := filepath.Dir(c.DigestFile); c.DigestFile != "" {
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("push: the digest has no place: %w", err)
		}
	}
	switch {
	case c.Artifact && (c.All || c.Compression != "" || c.CompressionLevel != 0 || c.Force || c.Format != ""):
		return &usageError{msg: "push: files go as they are: --artifact goes without --all, --format and what compresses layers"}
	case c.Artifact && len(c.Destination) == 0 && len(c.Annotation) == 0: // notes alone are an artifact, too
		return &usageError{msg: "push: --artifact needs the files to send", hint: "coracle push --artifact REGISTRY/NAME:TAG FILE..."}
	case !c.Artifact && (c.ArtifactType != "" || len(c.Annotation) > 0 || c.Subject != ""):
		return &usageError{msg: "push: --artifact-type, --annotation and --subject are of artifacts", hint: "add --artifact"}
	case !c.Artifact && len(c.Destination) > 1:
		return &usageError{msg: "push: an image goes to one destination"}
	}
	return nil
}

func (c *pushCmd) artifact(a *app, access images.Access) (int, error) {
	ctx, stop := interruptible()
	defer stop()
	o := images.ArtifactOptions{Access: access, Type: c.ArtifactType, Subject: c.Subject}
	for _, note := range c.Annotation {
		k, v, ok := strings.Cut(note, "=")
		if !ok || k == "" {
			return exitOurs, &usageError{msg: fmt.Sprintf("push: --annotation %q is not KEY=VALUE", note)}
		}
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		o.Annotations[k] = v
	}
	bars := newProgress(a.err)
	if !c.Quiet {
		o.Progress = bars.add
	}
	out, err := images.PushArtifact(ctx, c.Image, c.Destination, o)
	bars.close()
	if err != nil {
		return exitOurs, err
	}
	return c.pushed(a, out)
}

// pushed tells the digest.
func (c *pushCmd) pushed(a *app, out *images.Pushed) (int, error) {
	if c.DigestFile != "" {
		if err := os.WriteFile(c.DigestFile, []byte(out.Digest), 0o666); err != nil { //nolint:gosec // the caller's umask decides, as for any file
			return exitOurs, fmt.Errorf("write the digest: %w", err)
		}
	}
	fmt.Fprintln(a.out, out.Digest)
	return 0, nil
}
