package cli

type topCmd struct {
	Latest bool `short:"l" help:"The container that was made last."`

	Words []string `arg:"" name:"CONTAINER" optional:""`
}

func (*topCmd) Help() string {
	return `Shows the processes of a container: by podman's descriptors, with the ids and
names that the container has, or by options of ps(1), with the host's. hpid,
huser and hgroup are the host's in both. The descriptors are args capamb capbnd
capeff capinh capprm comm etime group groups hgroup hgroups hpid huser label
nice pcpu pgid pid ppid rgroup rss ruser seccomp state stime time tty user vsz.

  coracle top web
  coracle top web user pid hpid args
  coracle top web -ef`
}

func (c *topCmd) run(a *app) (int, error) {
	s, words := selection{Latest: c.Latest}, c.Words
	if !c.Latest && len(words) > 0 {
		s.Containers, words = words[:1], words[1:]
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := s.names(e, "top", isRunning)
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	rows, err := e.Top(ctx, names[0], words)
	if err != nil {
		return exitOurs, err
	}
	table{titles: rows[0], rows: rows[1:]}.write(a.out, 0)
	return 0, nil
}
