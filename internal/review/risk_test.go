package review

import "testing"

func TestRisks(t *testing.T) {
	for _, c := range []struct {
		root, path string
		want       FlagName
	}{
		{"/p", "src/main.c", ""},
		{"/p", ".git", FlagRuns}, // a file of that name says where the repository is
		{"/p", ".git/hooks/post-checkout", FlagRuns},
		{"/p", "vendor/lib/.git/hooks/pre-commit", FlagRuns},
		{"/p/.git", "hooks/pre-commit", FlagRuns},
		{"/p/.git", "config", FlagRuns},
		{"/p", ".git/config", FlagRuns},
		{"/p", ".git/objects/ab/cdef", ""},
		{"/p", ".git/index", ""},
		{"/p", ".git/modules/sub/config", FlagRuns},
		{"/p", "config", ""},
		{"/p", ".envrc", FlagRuns},
		{"/p", "sub/.envrc", FlagRuns},
		{"/home/u", ".bashrc", FlagRuns},
		{"/home/u", ".config/fish/conf.d/x.fish", FlagRuns},
		{"/home/u/.config", "fish/config.fish", FlagRuns},
		{"/home/u", ".ssh/authorized_keys", FlagRuns},
		{"/home/u", ".local/bin/ls", FlagRuns},
		{"/p", ".vscode/tasks.json", FlagRuns},
		{"/p", "deep/.idea", FlagRuns},
		{"/p", "x.code-workspace", FlagRuns},
		{"/p", "lib/evil.pth", FlagRuns},
		{"/p", ".github/workflows/ci.yml", FlagRuns},
		{"/p", ".something-new/config", FlagRuns}, // hidden, at the top
		{"/p", "sub/.something-new", ""},
		{"/p", ".cache/x", ""},
		{"/p", ".", ""},
		{"/p", "Makefile", FlagBuild},
		{"/p", "sub/package.json", FlagBuild},
		{"/p", "requirements-dev.txt", FlagBuild},
		{"/p", "vite.config.ts", FlagRuns},
		{"/p", "node_modules/a/.travis.yml", ""},
		{"/p", "node_modules/a/.eslintrc", ""},
		{"/p/node_modules", "a/.husky/pre-commit", ""},
		{"/p", "node_modules/a/.git/hooks/pre-commit", FlagRuns},
		{"/p", "node_modules/a/.envrc", FlagRuns},
		{"/p", "node_modules/a/package.json", FlagBuild},
	} {
		got := FlagName("")
		if f := risks(c.root, c.path); len(f) > 0 {
			got = f[0].Name
		}
		if got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.path, c.root, got, c.want)
		}
	}
}
