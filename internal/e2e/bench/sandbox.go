package main

import (
	"os"
	"path/filepath"
)

// inWork calls f in a directory below the home, which is itself empty inside a sandbox.
func inWork(f func(home, work string) error) (err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	was, err := os.Getwd()
	if err != nil {
		return err
	}
	work := filepath.Join(home, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if err := os.Chdir(work); err != nil {
		return err
	}
	defer func() { err = firstOf(err, os.Chdir(was)) }()
	return f(home, work)
}

func inSandbox(more ...string) []string {
	return append([]string{"coracle", "sandbox", "--on-exit", "discard"}, more...)
}

// keeping runs a shell's words in a sandbox whose changes are kept, on the disk; dropKept
// is for before the next one.
func keeping(sh []string) []string {
	return append([]string{"coracle", "sandbox", "--on-exit", "keep", "--"}, sh...)
}

const dropKept = "coracle discard --all 2>/dev/null"

// inBubblewrap shows and hides what the sandbox does, as far as bubblewrap can: it has no
// filter, no overlay, and no sockets hidden.
func inBubblewrap(home string, more ...string) []string {
	return append([]string{"bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", home, "--new-session", "--unshare-all"}, more...)
}

func startSandbox(_ place, rounds int) (Group, error) {
	g := Group{Name: "Start a command in a sandbox", Goal: "≤ 1.5 ×, aim 1 ×",
		Note: "`coracle sandbox --on-exit discard`, with the current directory copy-on-write, and without; bubblewrap with the same namespaces, read-only; coracle is in the kernel's cache as `make build` writes it, in large pieces: after it was read from the disk again (a reboot) each start takes 1.5 to 2 ms more"}
	err := inWork(func(home, _ string) (err error) {
		g, err = compare(g, max(rounds, 50), contender{"coracle", inSandbox("--", "true")},
			contender{"coracle, --cwd none", inSandbox("--cwd", "none", "--", "true")},
			contender{"bubblewrap", inBubblewrap(home, "true")})
		return err
	})
	return g, err
}

// sandboxEgress is what rules for the network add to a start. The address is one of those
// that are for documentation, and nobody connects to it.
func sandboxEgress(_ place, rounds int) (Group, error) {
	g := Group{Name: "Start a sandbox with an egress rule", Goal: "≤ 8 ms over none",
		Note: "`coracle sandbox --on-exit discard --allow-net 192.0.2.1:443`; with the network and no rule; with no network"}
	err := inWork(func(_, _ string) (err error) {
		g, err = compare(g, rounds, contender{"coracle, --allow-net", inSandbox("--allow-net", "192.0.2.1:443", "--", "true")},
			contender{"coracle, --network private", inSandbox("--network", "private", "--", "true")},
			contender{"none", inSandbox("--", "true")})
		return err
	})
	return g, err
}
