package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"

	"coracle/images"
)

type loginCmd struct {
	accessFlags   `embed:""`
	Username      string `short:"u" placeholder:"NAME" help:"The user (default: asked for)."`
	PasswordStdin bool   `name:"password-stdin" help:"Read the password from standard input."`
	GetLogin      bool   `name:"get-login" help:"Print as whom you are logged in, and do nothing."`

	Registry string `arg:"" name:"REGISTRY" optional:""`
}

func (*loginCmd) Help() string {
	return `Keeps the credentials for a registry (default: docker.io) in
~/.docker/config.json, in $REGISTRY_AUTH_FILE or in --authfile, or with the
credential helper that the file names.

  coracle login registry.example.org
  pass show registry | coracle login -u me --password-stdin r.example.org`
}

func (*loginCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "p password", never: true, reason: "a password on the command line can be read by everybody on this machine", hint: "--password-stdin reads it from standard input"},
		{flags: "secret", reason: "a secret of containers is for containers", hint: "--password-stdin"},
	}, name)
}

func (c *loginCmd) run(a *app) (int, error) {
	access, err := c.access()
	if err != nil {
		return exitOurs, err
	}
	if c.GetLogin {
		user, err := images.LoggedIn(c.Registry, c.AuthFile)
		if err != nil {
			return exitOurs, err
		}
		fmt.Fprintln(a.out, visible(user))
		return 0, nil
	}
	o := images.LoginOptions{Access: access, Username: c.Username}
	if err := c.ask(a, &o); err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	place, err := images.Login(ctx, c.Registry, o)
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, "Login Succeeded")
	if !strings.HasPrefix(place, "docker-credential-") {
		a.warn(place+" has the password in it, readable by you only", "a credential helper keeps it better: credHelpers in that file")
	}
	return 0, nil
}

// ask completes what was not on the line.
func (c *loginCmd) ask(a *app, o *images.LoginOptions) error {
	in := a.files[0]
	if c.PasswordStdin {
		if o.Username == "" {
			return &usageError{msg: "login: --password-stdin needs --username"}
		}
		data, err := io.ReadAll(io.LimitReader(in, 64<<10))
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		o.Password = strings.TrimRight(string(data), "\r\n")
		return notEmpty(o)
	}
	if !isTerminal(in) {
		return &usageError{msg: "login: there is no terminal to ask for the password", hint: "--password-stdin reads it from standard input"}
	}
	if o.Username == "" {
		fmt.Fprint(a.err, "Username: ")
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the user's name: %w", err)
		}
		o.Username = strings.TrimSpace(line)
	}
	fmt.Fprint(a.err, "Password: ")
	data, err := term.ReadPassword(int(in.Fd())) //nolint:gosec // a descriptor fits
	fmt.Fprintln(a.err)
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	o.Password = string(data)
	return notEmpty(o)
}

func notEmpty(o *images.LoginOptions) error {
	if o.Username == "" || o.Password == "" {
		return errors.New("log in: neither the user's name nor the password may be empty")
	}
	return nil
}

type logoutCmd struct {
	All      bool   `short:"a" help:"For all registries."`
	AuthFile string `name:"authfile" placeholder:"FILE" help:"Of this file, instead of $REGISTRY_AUTH_FILE or docker's."`

	Registry string `arg:"" name:"REGISTRY" optional:""`
}

func (*logoutCmd) Help() string {
	return `Forgets the credentials for a registry (default: docker.io). Those that another
program keeps in a file of its own stay, and are named.

  coracle logout registry.example.org
  coracle logout --all`
}

func (c *logoutCmd) run(a *app) (int, error) {
	if c.All {
		return c.all(a)
	}
	removed, others, err := images.Logout(c.Registry, c.AuthFile)
	if err != nil {
		return exitOurs, err
	}
	name := c.Registry
	if name == "" {
		name = "docker.io"
	}
	for _, path := range others {
		a.warn(fmt.Sprintf("%s has credentials for %s, too", path, name), "the program that keeps them there removes them, podman logout for example")
	}
	if !removed {
		return exitOurs, fmt.Errorf("log out of %s: not logged in", name)
	}
	fmt.Fprintf(a.out, "Removed login credentials for %s\n", visible(name))
	return 0, nil
}

func (c *logoutCmd) all(a *app) (int, error) {
	if c.Registry != "" {
		return exitOurs, &usageError{msg: "logout: --all is for all registries, and " + visible(c.Registry) + " is one", hint: "either --all or REGISTRY"}
	}
	out, err := images.LogoutAll(c.AuthFile)
	for _, path := range out.Others {
		a.warn(path+" has login credentials, too", "the program that keeps them there removes them, podman logout --all for example")
	}
	for _, name := range out.Removed {
		fmt.Fprintf(a.out, "Removed login credentials for %s\n", visible(name))
	}
	if err == nil && len(out.Removed) == 0 {
		fmt.Fprintf(a.out, "There are no login credentials in %s\n", visible(out.File))
	}
	return exitOnError(err)
}
