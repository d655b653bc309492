package main

import (
	"os"
	"path/filepath"
)

// startSandbox has bubblewrap show and hide what the sandbox does, as far as it can: it
// has no filter, no overlay of the current directory, and no sockets hidden. The
// current directory is not the home itself, which is empty inside.
func startSandbox(_ place, rounds int) (Group, error) {
	g := Group{Name: "Start a command in a sandbox", Goal: "≤ 1.5 ×, aim 1 ×",
		Note: "`coracle sandbox --on-exit discard`, with the current directory copy-on-write, and without; bubblewrap with the same namespaces, read-only"}
	home, err := os.UserHomeDir()
	if err != nil {
		return g, err
	}
	was, err := os.Getwd()
	if err != nil {
		return g, err
	}
	work := filepath.Join(home, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return g, err
	}
	if err := os.Chdir(work); err != nil {
		return g, err
	}
	g, err = compare(g, rounds,
		contender{"coracle", []string{"coracle", "sandbox", "--on-exit", "discard", "--", "true"}},
		contender{"coracle, --cwd none", []string{"coracle", "sandbox", "--on-exit", "discard", "--cwd", "none", "--", "true"}},
		contender{"bubblewrap", []string{"bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", home, "--new-session", "--unshare-all", "true"}})
	if back := os.Chdir(was); err == nil {
		err = back
	}
	return g, err
}
