package review

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A file is risky when some program does what it says without being asked to: at the
// next `git status`, cd, new shell, or opened editor. The lists are kept by what the
// programs' manuals say they read on their own; a name that is not in them may still be
// read by something, so a review shows all files, and these first.

// rule says what reads files of a name. Names are patterns of path.Match; with a slash
// they are compared with as many last parts of the path, and "/**" at the end means all
// that is in such a directory.
type rule struct {
	who   string
	names string
}

// Of these programs none looks at what is below node_modules: they read what is at the
// top of a project, or beside the files that they work on. Packages bring such files by
// the hundred.
const (
	ci           = "CI"
	hookManagers = "git's hook managers"
	compilers    = "compilers and build tools, from the directory they are in"
)

func runsRules() []rule {
	return []rule{
		{"git", `.git .git/hooks/** .git/config .git/config.worktree .git/commondir .git/info/attributes .git/modules/** .git/worktrees/**
			.git/objects/info/alternates .gitmodules .gitattributes .gitconfig .config/git/**`},
		{"Mercurial", `.hg/hgrc .hgrc`},
		{hookManagers, `.husky/** lefthook.yml .lefthook.yml .pre-commit-config.yaml .overcommit.yml`},
		{"shells", `.bashrc .bash_profile .bash_login .bash_logout .bash_aliases .profile .zshrc .zshenv .zprofile .zlogin .zlogout
			.kshrc .mkshrc .cshrc .tcshrc .login .logout .inputrc .config/fish/** .config/nushell/** .config/zsh/** .oh-my-zsh/**`},
		{"the session", `.xinitrc .xprofile .xsession .xsessionrc .Xresources .pam_environment .config/environment.d/** .config/autostart/**
			.config/systemd/** .local/share/systemd/** .local/share/applications/** .local/share/dbus-1/** .config/hypr/** .config/sway/** .config/i3/**`},
		{"the command path", `.local/bin/** .cargo/bin/** .deno/bin/** go/bin/** .npm-global/bin/**`},
		{"ssh and gpg", `.ssh/** .gnupg/**`},
		{"direnv and version managers", `.envrc .direnv/** .direnvrc .config/direnv/** .mise.toml mise.toml .mise/** .config/mise/** .tool-versions .asdfrc
			.nvmrc .node-version .python-version .ruby-version .rvmrc .sdkmanrc .env`},
		{"editors", `.vscode/** *.code-workspace .vs/** .idea/** .fleet/** .zed/** .helix/** .vimrc .exrc .gvimrc .nvimrc .nvim.lua .vim/** .config/nvim/**
			.config/helix/** .config/Code/** .config/zed/** .emacs .emacs.el .emacs.d/** .config/emacs/** .dir-locals.el .dir-locals-2.el .sublime-project
			*.sublime-project .devcontainer/** .devcontainer.json .kakrc .config/kak/** .nanorc .editorconfig .projectile .lvimrc .local.vimrc`},
		{"assistants in editors and shells", `.mcp.json mcp.json .cursor/** .cursorrules .windsurf/** .windsurfrules .continue/** .aider.conf.yml .github/copilot-instructions.md AGENTS.md`},
		{ci, `.github/workflows/** .github/actions/** .gitlab-ci.yml .gitlab/** .circleci/** .travis.yml .drone.yml .woodpecker/** .woodpecker.yml
			Jenkinsfile azure-pipelines.yml .buildkite/** bitbucket-pipelines.yml .pre-commit-hooks.yaml`},
		{"package managers", `.npmrc .yarnrc .yarnrc.yml .yarn/releases/** .yarn/plugins/** .pnpmfile.cjs .pnpmfile.mjs .pnp.cjs .pnp.loader.mjs bunfig.toml .pypirc
			pip.conf .pip/** .config/pip/** .condarc .gemrc .bundle/config .cargo/config .cargo/config.toml .m2/** .mvn/** .gradle/init.d/** gradle.properties
			.gradle/gradle.properties .sbtopts .jvmopts .cabal/config .config/go/env .config/nix/** .config/composer/**`},
		{"Python", `sitecustomize.py usercustomize.py *.pth conftest.py pyvenv.cfg .pythonrc .pythonrc.py .pdbrc .ipython/** .jupyter/**`},
		{compilers, `rust-toolchain rust-toolchain.toml .rustfmt.toml .bazelrc .bazelversion .clangd compile_flags.txt .clang-tidy
			.babelrc* babel.config.* .eslintrc* eslint.config.* .prettierrc* prettier.config.* vite.config.* webpack.config.* jest.config.* .mocharc* tsconfig.json`},
		{"debuggers", `.gdbinit .config/gdb/** .lldbinit .irbrc .pryrc .psqlrc .sqliterc .Rprofile .Renviron`},
		{"command line tools", `.screenrc .tmux.conf .config/tmux/** .netrc .curlrc .wgetrc .config/starship.toml .lessfilter .lesskey .mailcap .selected_editor
			.docker/** .config/containers/** .config/coracle/** .coracle.toml .kube/** .aws/** .terraformrc .config/gh/** .ackrc .config/bat/** .config/ripgrep/**`},
	}
}

func buildRules() []rule {
	return []rule{
		{"make", `Makefile makefile GNUmakefile *.mk *.mak`},
		{"a build", `CMakeLists.txt *.cmake meson.build meson.options SConstruct SConscript wscript configure configure.ac autogen.sh bootstrap.sh BUILD BUILD.bazel
			WORKSPACE WORKSPACE.bazel MODULE.bazel *.bzl build.gradle build.gradle.kts settings.gradle settings.gradle.kts pom.xml build.xml build.sbt *.csproj *.props
			*.targets build.rs build.zig Package.swift mix.exs rebar.config dune-project Rakefile Gemfile *.gemspec Podfile Cargo.toml go.work go.mod`},
		{"a package manager", `package.json package-lock.json npm-shrinkwrap.json pnpm-lock.yaml yarn.lock setup.py setup.cfg pyproject.toml requirements*.txt tox.ini noxfile.py Pipfile composer.json
			binding.gyp`},
		{"a task runner", `Justfile justfile .justfile Taskfile.yml Taskfile.yaml gulpfile.* Gruntfile.* Procfile Vagrantfile Tiltfile dodo.py tasks.py fabfile.py`},
		{"a container build", `Dockerfile Dockerfile.* *.dockerfile Containerfile compose.yaml compose.yml docker-compose*.yml flake.nix shell.nix default.nix`},
	}
}

// risks are the flags that a path has by its name.
func risks(root, rel string) []Flag {
	// What a name means may depend on the directory that the overlay is of.
	full := strings.Split(strings.Trim(filepath.Join(root, rel), "/"), "/")
	who := runsTable().find(full)
	if (who == ci || who == hookManagers || who == compilers) && slices.Contains(full[:len(full)-1], "node_modules") {
		return nil
	}
	if who != "" {
		return []Flag{{FlagRuns, "read by " + who + " without being asked to"}}
	}
	if top, _, _ := strings.Cut(rel, "/"); strings.HasPrefix(top, ".") && top != "." && !slices.Contains(quietNames(), top) {
		return []Flag{{FlagRuns, "a hidden file: some program's configuration"}}
	}
	if who := buildTable().find(full[len(full)-1:]); who != "" {
		return []Flag{{FlagBuild, "what " + who + " does"}}
	}
	return nil
}

// quiet are hidden directories in which programs keep what they have made.
const quiet = ".git .hg .svn .cache .venv .tox .nox .pytest_cache .mypy_cache .ruff_cache .next .nuxt .nyc_output .gradle .terraform .parcel-cache .turbo .eggs .coverage .gitignore .gitkeep .dockerignore .npmignore .npm .ccache"

// table is rules, sorted by the part of a path that is looked up.
type table struct {
	names map[string]string // a whole last part
	globs []rule            // patterns of the last part
	ends  map[string][]rule // by the last of several parts
	trees map[string][]rule // by the first part of a directory with all that is in it
}

func compile(rules []rule) *table {
	t := &table{names: map[string]string{}, ends: map[string][]rule{}, trees: map[string][]rule{}}
	for _, r := range rules {
		for pattern := range strings.FieldsSeq(r.names) {
			one := rule{r.who, strings.TrimSuffix(pattern, "/**")}
			first, _, _ := strings.Cut(one.names, "/")
			switch {
			case one.names != pattern:
				t.trees[first] = append(t.trees[first], one)
			case first != pattern:
				last := path.Base(pattern)
				t.ends[last] = append(t.ends[last], one)
			case strings.Contains(pattern, "*"):
				t.globs = append(t.globs, one)
			default:
				t.names[pattern] = r.who
			}
		}
	}
	return t
}

// find says who of the rules reads a path, given as its parts.
func (t *table) find(parts []string) string {
	last := parts[len(parts)-1]
	if who := t.names[last]; who != "" {
		return who
	}
	for _, r := range t.globs {
		if ok, err := path.Match(r.names, last); ok && err == nil {
			return r.who
		}
	}
	for _, r := range t.ends[last] {
		if want := strings.Split(r.names, "/"); len(want) <= len(parts) && slices.Equal(want, parts[len(parts)-len(want):]) {
			return r.who
		}
	}
	// The directory itself counts: it may have come by a rename, or be a link.
	for i, part := range parts {
		for _, r := range t.trees[part] {
			if want := strings.Split(r.names, "/"); len(want) <= len(parts)-i && slices.Equal(want, parts[i:i+len(want)]) {
				return r.who
			}
		}
	}
	return ""
}

// Made when they are first asked for: most commands have nothing to review.
var (
	runsTable  = sync.OnceValue(func() *table { return compile(runsRules()) })
	buildTable = sync.OnceValue(func() *table { return compile(buildRules()) })
	quietNames = sync.OnceValue(func() []string { return strings.Fields(quiet) })
)
