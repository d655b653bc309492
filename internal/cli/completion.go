package cli

import (
	"fmt"
	"path/filepath"
	"strings"
)

// completionCmd prints the script that makes a shell ask us at each Tab.
type completionCmd struct {
	Shell string `arg:"" name:"SHELL" enum:"bash,zsh,fish"`
}

func (*completionCmd) Help() string {
	return `SHELL is bash, zsh or fish. The script asks this program at each Tab, so that it
needs no change when the program does.

  coracle completion bash >> ~/.bashrc
  coracle completion zsh > ~/.zfunc/_coracle # fpath=(~/.zfunc $fpath)
  coracle completion fish > ~/.config/fish/completions/coracle.fish
  source <(coracle completion bash)              # for this shell only`
}

func (*completionCmd) configless() {}

func (c *completionCmd) run(a *app) (int, error) {
	name := "coracle"
	if isLink(a.name) {
		name = a.name
	}
	script := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	fmt.Fprint(a.out, strings.ReplaceAll(script, "coracle", name))
	return 0, nil
}

// isLink says whether a program's name is that of another whose words we take.
func isLink(name string) bool { return name == "docker" || name == "podman" }

func baseName(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return filepath.Base(args[0])
}

// The scripts hand over what was typed and take an answer (complete.go): a line
// "MODE SKIP SPACE", and a line for each word to choose from. Bash takes apart
// words at = and : by itself, so it gets and gives the rest of a word only.

const bashScript = `# bash completion for coracle
_coracle() {
    local -a reply
    local head program=${COMP_WORDS[0]}
    COMPREPLY=()
    [[ $program == "~/"* ]] && program=$HOME/${program:2}
    mapfile -t reply < <("$program" __complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    head=${reply[0]-}
    case $head in
    files*) compopt -o default ;;
    dirs*) compopt -o dirnames ;;
    esac
    [[ $head == *nospace ]] && compopt -o nospace
    COMPREPLY=("${reply[@]:1}")
}
complete -F _coracle coracle
`

const zshScript = `#compdef coracle
_coracle() {
    local -a reply head items end
    local program=${(Q)words[1]}
    [[ $program == '~/'* ]] && program=$HOME/${program#'~/'}
    reply=("${(@f)$("$program" __complete zsh "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    head=(${=reply[1]})
    (( head[2] > 0 )) && compset -p $head[2]
    [[ $head[3] == nospace ]] && end=(-S '')
    items=("${(@)reply[2,-1]}")
    (( $#items )) && _describe -t words coracle items $end
    case $head[1] in
    files) _files ;;
    dirs) _files -/ ;;
    esac
}
if [[ $funcstack[1] == _coracle ]]; then
    _coracle "$@"
else
    compdef _coracle coracle
fi
`

const fishScript = `# fish completion for coracle
function __coracle_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    type -q $program; or return
    set -l reply ($program __complete fish $words "$current" 2>/dev/null)
    set -l head (string split ' ' -- $reply[1])
    set -l prefix (string sub -l $head[2] -- "$current")
    set -l rest (string sub -s (math $head[2] + 1) -- "$current")
    test (count $reply) -gt 1; and printf '%s\n' $reply[2..-1]
    switch "$head[1]"
        case files
            for path in (__fish_complete_path "$rest")
                echo "$prefix$path"
            end
        case dirs
            for path in (__fish_complete_directories "$rest")
                echo "$prefix$path"
            end
    end
end
complete -c coracle -f -a '(__coracle_complete)'
`
