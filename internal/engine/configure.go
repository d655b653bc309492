package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"coracle/internal/plainfile"
	"coracle/internal/stack"
	"coracle/spec"
	"coracle/spec/seccomp"
)

// configure computes the configuration and what goes with it.
func (r *run) configure(name string) error {
	if err := r.generate(name); err != nil {
		return err
	}
	if err := r.checkManager(); err != nil {
		return err
	}
	return r.assemble()
}

// generate computes the configuration.
func (r *run) generate(name string) (err error) {
	dir := r.e.containerDir(r.id)
	files := filepath.Join(dir, "files")
	in := spec.Input{
		ID: r.id, Name: name, Image: spec.ImageConfig(r.root.config), ParseAddr: parseAddr, NoImage: r.root.imageID == "", Options: r.options(), Root: r.root.reader, Host: hostFacts{}, Sources: &mountSources{r: r},
		RootDir: filepath.Join(dir, "root"), Files: files,
		UIDMap: r.ids.Map.UIDs, GIDMap: r.ids.Map.GIDs,
		HostUID: r.caller.UID, HostGID: r.caller.GID, HostGroups: r.caller.Groups, HostName: r.caller.Name,
		ContainerUID: r.ids.UID, ContainerGID: r.ids.GID, KeepID: r.ids.KeepID, SingleID: r.ids.Single, Joined: r.joined,
	}
	if r.net, err = r.e.planNetworks(r.o, r.id); err != nil {
		return err
	}
	in.Tun = r.net.tun()
	if r.result, err = spec.Generate(in); err != nil {
		return err
	}
	for _, w := range r.result.Warnings {
		r.e.warn(w, "")
	}
	return nil
}

// assemble puts together what the start needs besides the configuration.
func (r *run) assemble() (err error) {
	s := r.result.Spec
	x := spec.Extra{
		Newborn: r.newborn, Init: r.result.Init, Preserve: r.o.PreserveFDs, Handles: outsider(r.ids),
		Resolve: r.root.resolve, Compiled: r.root.close, Directories: r.result.Directories,
	}
	x.ID = r.id
	if x.Tun, err = r.tun(); err != nil {
		return err
	}
	for _, s := range r.result.Secrets { // the data comes last: prepare
		x.Secrets = append(x.Secrets, spec.Secret{SecretUse: s})
	}
	filter := func() (seccomp.Program, error) { return seccomp.Program{}, nil }
	switch {
	case s.Linux.Seccomp == nil:
	case r.result.Filter != nil:
		filter = func() (seccomp.Program, error) { return *r.result.Filter, nil }
	default:
		filter = inBackground(func() (seccomp.Program, error) { return seccomp.Compile(s.Linux.Seccomp, runtime.GOARCH) })
	}
	if x.Root, err = r.rootfs(); err != nil {
		return err
	}
	prog, err := filter()
	if err != nil {
		return err
	}
	if s.Linux.Seccomp != nil {
		if prog.Notify() {
			return &Error{Op: "load the seccomp profile", Err: errors.New("SCMP_ACT_NOTIFY needs a listener, and those come with the OCI runtime"), Help: "use another action in the profile"}
		}
		if len(prog.Unknown) > 0 {
			r.e.warn("the seccomp profile names system calls that do not exist: "+strings.Join(prog.Unknown, ", "), "")
		}
		x.Seccomp, x.SeccompFlags = prog.Filter, prog.Flags
	}
	r.extra = x
	return nil
}

// options are the user's; on the host's own root a command starts where the
// user is, and at home there, as with any command that wraps another.
func (r *run) options() spec.Options {
	o := r.o.Options
	if !r.root.host {
		return o
	}
	// Names and addresses are the host's, too, unless others are asked for.
	o.NoHosts = o.NoHosts || len(o.AddHosts) == 0
	o.NoHostname = o.NoHostname || !o.HostnameSet
	if home := r.caller.Home; home != "" {
		o.Env = append([]string{"HOME=" + home}, o.Env...)
	}
	if dir, err := os.Getwd(); err == nil && o.Workdir == "" && r.root.shows(dir) {
		o.Workdir = dir
	}
	return o
}

// write makes the files that the start needs.
func (r *run) write() error {
	b := r.box
	files := filepath.Join(b.dir, "files")
	if len(r.result.Files) > 0 {
		if err := unix.Mkdir(files, 0o700); err != nil {
			return fmt.Errorf("write the container's files: mkdir %s: %w", files, err)
		}
	}
	for name, data := range r.result.Files {
		if err := plainfile.Write(filepath.Join(files, name), data, 0o644, unix.O_EXCL); err != nil {
			return fmt.Errorf("write the container's files: %w", err)
		}
	}
	for _, o := range r.result.Overlays {
		for _, d := range []string{o.Upper, o.Work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("make the upper directory of %s: %w", o.Destination, err)
			}
		}
	}
	b.Command = r.result.Spec.Process.Args
	b.Labels, b.Annotations = r.result.Labels, pairs(r.o.Annotations)
	b.StopSignal, b.StopTimeout = r.result.StopSignal, r.result.StopTimeout
	b.Mounts = r.result.Mounted
	if f := r.o.CIDFile; f != "" {
		if err := createFile("container id", f, b.ID); err != nil {
			return err
		}
		r.wroteCID = true
	}
	return nil
}

// pairs are NAME=VALUE words; nil for none.
func pairs(words []string) map[string]string {
	var out map[string]string
	for _, w := range words {
		if out == nil {
			out = map[string]string{}
		}
		name, value, _ := strings.Cut(w, "=")
		out[name] = value
	}
	return out
}

// record writes down what the container is: nothing that the start needs, so
// it is done while the container's first process is at work.
func (r *run) record() error {
	if err := r.box.save(); err != nil {
		return err
	}
	config, err := spec.EncodeConfig(r.result.Spec)
	if err != nil {
		return fmt.Errorf("write config.json: %w", err)
	}
	if err := plainfile.Write(filepath.Join(r.box.dir, "config.json"), config, 0o644, unix.O_EXCL); err != nil || r.o.Remove && !r.o.Detached() {
		return err // what ends with its launcher is never started again
	}
	return r.blueprint().write(r.box.dir)
}

// inBackground starts f at once, on another core; the answer is for later.
func inBackground[T any](f func() (T, error)) func() (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		stack.Reserve()
		v, err := f()
		done <- result{v, err}
	}()
	return sync.OnceValues(func() (T, error) {
		r := <-done
		return r.v, r.err
	})
}

func parseAddr(text string) (addr, zone string, err error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "", "", err
	}
	return a.String(), a.Zone(), nil
}
