package sandbox

import (
	"path"
	"slices"
	"strings"
)

// executedLater are files of a project or a home directory that other programs run
// or obey the next time they are used there: a command that may write to the
// directory must not leave something in them by the way.
func executedLater() []string {
	return []string{
		".git/hooks", ".git/config", ".git/config.worktree", ".git/commondir", ".git/info/attributes", ".gitmodules", ".envrc", ".husky", ".pre-commit-config.yaml", ".vscode", ".idea", ".nvim.lua", ".exrc",
		".coracle.toml", ".mcp.json", ".claude", ".cursor", ".devcontainer", ".npmrc", ".yarnrc", ".yarnrc.yml",
		".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".inputrc",
		".config/fish", ".gitconfig", ".config/git", ".vimrc", ".vim", ".emacs", ".emacs.d", ".config/nvim", ".config/autostart", ".config/systemd",
		".config/environment.d", ".ssh", ".xinitrc", ".xsession", ".xprofile", ".local/bin",
	}
}

// protect makes what other programs execute later read-only in directories that may
// be written to, unless it is named itself. What is not there yet cannot be held:
// it is looked for at the end (Plan.Watched).
func (p *planner) protect() error {
	for _, at := range p.sorted() {
		if at.Kind != KindRW || !p.isDir(at.Source) {
			continue
		}
		dirs, pointers := repositories(p.host, at.Source)
		p.plan.writable = append(p.plan.writable, repositoriesOf{at.Source, slices.Concat(dirs, pointers)})
		names := append(executedLater(), pointers...)
		for _, dir := range dirs {
			for _, name := range obeyed() {
				names = append(names, path.Join(dir, name))
			}
		}
		for _, name := range p.own() {
			if below(name, at.Source) {
				names = append(names, strings.TrimPrefix(name, at.Source+"/"))
			}
		}
		for _, name := range names {
			full := path.Join(at.Path, name)
			if p.named(full) {
				continue
			}
			if hidden := p.places[full]; hidden != nil && hidden.Kind == KindTmpfs {
				p.pin(at, path.Dir(name))
				continue
			}
			source := path.Join(at.Source, name)
			if _, err := p.host.Stat(source); err != nil {
				p.plan.Watched = append(p.plan.Watched, source)
				continue
			}
			if real, err := p.host.Real(source); err != nil || real != source {
				continue // what a link leads to is protected where that lies
			}
			p.add(Place{Path: full, Kind: KindRO, Source: source, Why: "other programs execute it later"})
			p.pin(at, path.Dir(name))
		}
	}
	return nil
}

// pin makes the directories between a writable one and a protected file mounts, too:
// else one of them could be renamed, the file with it, and another take its place.
func (p *planner) pin(at Place, dir string) {
	for ; dir != "." && dir != "/"; dir = path.Dir(dir) {
		full := path.Join(at.Path, dir)
		if p.places[full] == nil {
			p.add(Place{Path: full, Kind: KindRW, Source: path.Join(at.Source, dir), Why: "holds what other programs execute later"})
		}
	}
}

// repositoriesOf are those of a writable directory when the command began.
type repositoriesOf struct {
	dir   string
	names []string
}

// Executed says which of the files that other programs execute, and that were not
// there, have been made, and which repositories: git obeys those as soon as somebody is
// in them.
func (pl *Plan) Executed(host Host) []string {
	var out []string
	for _, name := range pl.Watched {
		if _, err := host.Stat(name); err == nil && !pl.inOverlay(name) {
			out = append(out, name)
		}
	}
	for _, at := range pl.writable {
		for _, name := range slices.Concat(repositories(host, at.dir)) {
			full := path.Join(at.dir, name)
			if !slices.Contains(at.names, name) && !pl.inOverlay(full) && !slices.Contains(out, full) {
				out = append(out, full)
			}
		}
	}
	return out
}

func (pl *Plan) inOverlay(name string) bool {
	for _, dir := range pl.Layers {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}
