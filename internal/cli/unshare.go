package cli

import (
	"cmp"
	"context"
	"os"

	"coracle/internal/engine"
)

type unshareCmd struct {
	Userns     string   `placeholder:"MODE" help:"keep-id[:uid=N,gid=N], nomap or auto[:size=N]."`
	UIDMap     []string `name:"uidmap" placeholder:"C:H[:N]" help:"Map N user ids from C inside to H outside."`
	GIDMap     []string `name:"gidmap" placeholder:"C:H[:N]" help:"The same for group ids."`
	SubUIDName string   `name:"subuidname" placeholder:"NAME" help:"Whose lines of /etc/subuid to use."`
	SubGIDName string   `name:"subgidname" placeholder:"NAME" help:"Whose lines of /etc/subgid to use."`

	Command []string `arg:"" name:"COMMAND" optional:""`
}

func (*unshareCmd) Help() string {
	return `Inside you are root over your subordinate ids, in mount and user namespaces of
your own: files of a container can be read, changed and removed. The files are
the host's. Without COMMAND, your shell.

  coracle unshare rm -r ./files-of-a-container
  coracle unshare cat /proc/self/uid_map`
}

func (c *unshareCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	args := c.Command
	if len(args) == 0 {
		args = []string{cmp.Or(os.Getenv("SHELL"), "/bin/sh")}
	}
	ids := identityFlags{Userns: c.Userns, UIDMap: c.UIDMap, GIDMap: c.GIDMap, SubUIDName: c.SubUIDName, SubGIDName: c.SubGIDName}
	exit, err := e.Unshare(context.Background(), args, ids.request(),
		engine.Stdio{Stdin: a.files[0], Stdout: a.files[1], Stderr: a.files[2]})
	return exit.Code, err
}
