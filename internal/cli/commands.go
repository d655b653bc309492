package cli

import (
	"fmt"
	"slices"
	"strings"
)

// command is one verb; its exported fields are its flags and arguments.
type command interface {
	run(a *app) (code int, err error)
}

// entry is a line of the table of contents.
type entry struct {
	name    string // one word, or two where the first is a family: "volume ls"
	group   string
	usage   string // what follows the name
	summary string
	// trailing: all words from the first argument on belong to a command, so
	// flags end there.
	trailing bool
	make     func() command
}

// commands is the table of contents, in the order of `coracle help`.
func commands() []entry {
	return []entry{
		{"run", "Containers", "[flags] IMAGE [COMMAND [ARG...]]", "run a command in a new container", true, func() command { return &runCmd{} }},
		{"create", "Containers", "[flags] IMAGE [COMMAND [ARG...]]", "make a container, to be started later", true, func() command { return &createCmd{} }},
		{"start", "Containers", "[flags] CONTAINER...", "start containers", false, func() command { return &startCmd{} }},
		{"attach", "Containers", "[flags] CONTAINER", "take part in what a container reads and prints", false, func() command { return &attachCmd{} }},
		{"exec", "Containers", "[flags] CONTAINER COMMAND [ARG...]", "run a command in a container that runs", true, func() command { return &execCmd{} }},
		{"top", "Containers", "[flags] CONTAINER [DESCRIPTOR...|PS-OPTION...]", "show the processes of a container", true, func() command { return &topCmd{} }},
		{"stop", "Containers", "[flags] CONTAINER...", "end containers, with time to do so in order", false, func() command { return &stopCmd{} }},
		{"kill", "Containers", "[flags] CONTAINER...", "send a signal to containers", false, func() command { return &killCmd{} }},
		{"restart", "Containers", "[flags] CONTAINER...", "stop containers and start them again", false, func() command { return &restartCmd{} }},
		{"pause", "Containers", "[flags] CONTAINER...", "freeze all processes of containers", false, func() command { return &pauseCmd{} }},
		{"unpause", "Containers", "[flags] CONTAINER...", "let paused containers go on", false, func() command { return &unpauseCmd{} }},
		{"wait", "Containers", "[flags] CONTAINER...", "wait until containers have ended, and print their exit codes", false, func() command { return &waitCmd{} }},
		{"healthcheck run", "Health", "CONTAINER", "run a container's health check now", false, func() command { return &healthcheckRunCmd{} }},
		{"rename", "Containers", "CONTAINER NAME", "give a container another name", false, func() command { return &renameCmd{} }},
		{"cp", "Containers", "[flags] SRC DST", "copy files between containers and the host", false, func() command { return &cpCmd{} }},
		{"diff", "Containers", "[flags] NAME [OTHER]", "list how files of containers, images and layers differ", false, func() command { return &diffCmd{} }},
		{"commit", "Containers", "[flags] CONTAINER [IMAGE]", "make an image of what a container has changed", false, func() command { return &commitCmd{} }},
		{"export", "Containers", "[flags] CONTAINER", "write a container's root as a tar file", false, func() command { return &exportCmd{} }},
		{"ps", "Containers", "[flags]", "list containers", false, func() command { return &psCmd{} }},
		{"stats", "Containers", "[flags] [CONTAINER...]", "show what containers use, as it changes", false, func() command { return &statsCmd{} }},
		{"logs", "Containers", "[flags] CONTAINER...", "show what containers have said", false, func() command { return &logsCmd{} }},
		{"events", "Containers", "[flags]", "show what happens to containers, images and volumes", false, func() command { return &eventsCmd{} }},
		{"port", "Containers", "[flags] [add|rm] CONTAINER [PORT[/PROTO]...]", "list the ports that containers publish, or publish more or fewer", false, func() command { return &portCmd{} }},
		{"update", "Containers", "[flags] CONTAINER...", "change containers that are there", false, func() command { return &updateCmd{} }},
		{"rm", "Containers", "[flags] CONTAINER...", "remove containers", false, func() command { return &rmCmd{} }},
		{"container exists", "Containers", "CONTAINER", "say by the exit code whether there is such a container", false, func() command { return &existsCmd{} }},
		{"container prune", "Containers", "[flags]", "remove all containers that do not run", false, func() command { return &containerPruneCmd{} }},
		{"pull", "Images", "[flags] IMAGE...", "fetch images from a registry, archive or directory", false, func() command { return &pullCmd{} }},
		{"images", "Images", "[flags] [NAME]", "list images", false, func() command { return &imagesCmd{} }},
		{"history", "Images", "[flags] IMAGE", "show how an image came to be", false, func() command { return &historyCmd{} }},
		{"rmi", "Images", "[flags] IMAGE...", "remove images", false, func() command { return &rmiCmd{} }},
		{"push", "Images", "[flags] IMAGE [DESTINATION...]", "send an image to a registry, archive or directory", false, func() command { return &pushCmd{} }},
		{"tag", "Images", "IMAGE NAME...", "give an image more names", false, func() command { return &tagCmd{} }},
		{"untag", "Images", "IMAGE [NAME...]", "take names from an image", false, func() command { return &untagCmd{} }},
		{"save", "Images", "[flags] IMAGE...", "write images into an archive or a directory", false, func() command { return &saveCmd{} }},
		{"load", "Images", "[flags]", "take images from an archive or a directory", false, func() command { return &loadCmd{} }},
		{"import", "Images", "[flags] FILE|- [NAME]", "make an image of a root file system in a tar file", false, func() command { return &importCmd{} }},
		{"unpack", "Images", "[flags] IMAGE DIR", "make an OCI bundle of an image", false, func() command { return &unpackCmd{} }},
		{"pack", "Images", "[flags] DIR [IMAGE]", "make an image of an OCI bundle or a root file system", false, func() command { return &packCmd{} }},
		{"mount", "Images", "[flags] [IMAGE...]", "show the files of images, in coracle unshare", false, func() command { return &mountCmd{} }},
		{"unmount", "Images", "[flags] [IMAGE...]", "end what mount began", false, func() command { return &unmountCmd{} }},
		{"inspect", "Images", "[flags] NAME...", "show all that is known of images and containers", false, func() command { return &inspectCmd{} }},
		{"verify", "Images", "[flags] --key FILE IMAGE", "check the signatures of an image in its registry", false, func() command { return &verifyCmd{} }},
		{"login", "Images", "[flags] [REGISTRY]", "keep the credentials for a registry", false, func() command { return &loginCmd{} }},
		{"logout", "Images", "[flags] [REGISTRY]", "forget the credentials for a registry", false, func() command { return &logoutCmd{} }},
		{"image exists", "Images", "IMAGE", "say by the exit code whether there is such an image", false, func() command { return &imageExistsCmd{} }},
		{"image prune", "Images", "[flags]", "remove images that no container uses", false, func() command { return &imagePruneCmd{} }},
		{"completion", "System", "bash|zsh|fish", "print the script that makes a shell complete commands", false, func() command { return &completionCmd{} }},
		{"volume create", "Data", "[flags] [NAME]", "make a volume", false, func() command { return &volumeCreateCmd{} }},
		{"volume exists", "Data", "VOLUME", "say by the exit code whether there is such a volume", false, func() command { return &volumeExistsCmd{} }},
		{"volume export", "Data", "[flags] VOLUME", "write what is in a volume as a tar file", false, func() command { return &volumeExportCmd{} }},
		{"volume import", "Data", "VOLUME FILE|-", "add what is in a tar file to a volume", false, func() command { return &volumeImportCmd{} }},
		{"volume inspect", "Data", "[flags] VOLUME...", "show all that is known of volumes", false, func() command { return &volumeInspectCmd{} }},
		{"volume ls", "Data", "[flags]", "list volumes", false, func() command { return &volumeListCmd{} }},
		{"volume prune", "Data", "[flags]", "remove the volumes that no container uses", false, func() command { return &volumePruneCmd{} }},
		{"volume rm", "Data", "[flags] VOLUME...", "remove volumes", false, func() command { return &volumeRemoveCmd{} }},
		{"secret create", "Data", "[flags] NAME FILE|-", "keep a secret for containers", false, func() command { return &secretCreateCmd{} }},
		{"secret exists", "Data", "SECRET", "say by the exit code whether there is such a secret", false, func() command { return &secretExistsCmd{} }},
		{"secret inspect", "Data", "[flags] SECRET...", "show what is known of secrets, but for their data", false, func() command { return &secretInspectCmd{} }},
		{"secret ls", "Data", "[flags]", "list secrets", false, func() command { return &secretListCmd{} }},
		{"secret rm", "Data", "[flags] SECRET...", "remove secrets", false, func() command { return &secretRemoveCmd{} }},
		{"network connect", "Data", "[flags] NETWORK CONTAINER", "make a container part of one more network", false, func() command { return &networkConnectCmd{} }},
		{"network create", "Data", "[flags] NAME", "make a network for containers to reach each other", false, func() command { return &networkCreateCmd{} }},
		{"network disconnect", "Data", "NETWORK CONTAINER", "take a container out of a network", false, func() command { return &networkDisconnectCmd{} }},
		{"network exists", "Data", "NETWORK", "say by the exit code whether there is such a network", false, func() command { return &networkExistsCmd{} }},
		{"network inspect", "Data", "[flags] NETWORK...", "show all that is known of networks", false, func() command { return &networkInspectCmd{} }},
		{"network ls", "Data", "[flags]", "list networks", false, func() command { return &networkListCmd{} }},
		{"network prune", "Data", "[flags]", "remove the networks that no container has", false, func() command { return &networkPruneCmd{} }},
		{"network rm", "Data", "[flags] NETWORK...", "remove networks", false, func() command { return &networkRemoveCmd{} }},
		{"sandbox", "Sandbox", "[flags] -- COMMAND [ARG...]", "run a command of the host's so that it can do no harm", true, func() command { return &sandboxCmd{} }},
		{"review", "Sandbox", "[flags] [ID] [PATH...]", "show what a sandbox has changed", false, func() command { return &reviewCmd{} }},
		{"apply", "Sandbox", "[flags] [ID] [PATH...]", "bring a sandbox's changes over to the host's files", false, func() command { return &applyCmd{} }},
		{"discard", "Sandbox", "[flags] [ID...]", "drop a sandbox's changes", false, func() command { return &discardCmd{} }},
		{"why", "Sandbox", "[flags] [ID]", "explain what a sandbox has refused", false, func() command { return &whyCmd{} }},
		{"learn", "Sandbox", "[flags] -- COMMAND [ARG...]", "run a command in a sandbox, watch it, and propose a profile", true, func() command { return &learnCmd{} }},
		{"profile ls", "Sandbox", "[flags]", "list the profiles of sandboxes", false, func() command { return &profileListCmd{} }},
		{"profile show", "Sandbox", "NAME|FILE", "print a profile", false, func() command { return &profileShowCmd{} }},
		{"profile check", "Sandbox", "NAME|FILE...", "say what is wrong with profiles", false, func() command { return &profileCheckCmd{} }},
		{"profile trust", "Sandbox", "[FILE]", "let a project's profile give more", false, func() command { return &profileTrustCmd{} }},
		{"doctor", "System", "[flags]", "check this machine and account, and say what to type", false, func() command { return &doctorCmd{} }},
		{"info", "System", "[flags]", "show the store, the host and the choices made", false, func() command { return &infoCmd{} }},
		{"system df", "System", "[flags]", "show what takes space", false, func() command { return &systemDfCmd{} }},
		{"system prune", "System", "[flags]", "remove what is not in use", false, func() command { return &systemPruneCmd{} }},
		{"system check", "System", "[flags]", "verify the store, and repair it", false, func() command { return &systemCheckCmd{} }},
		{"unshare", "System", "[flags] [COMMAND [ARG...]]", "run a command in the user namespace", true, func() command { return &unshareCmd{} }},
		{"version", "System", "[flags]", "show the version", false, func() command { return &versionCmd{} }},
	}
}

// plannedCommands have their names taken, so that asking for one that is not
// there yet is answered by name.
func plannedCommands() []string {
	return strings.Fields(`attach build checkpoint create
		events exec history kill load login logout pause port prune
		push rename restart restore resume save start stop tag top
		update wait`)
}

func findCommand(name string) (entry, error) {
	all := commands()
	i := slices.IndexFunc(all, func(e entry) bool { return e.name == name })
	if i < 0 {
		if other, ok := aliases(all)[name]; ok {
			name = other
			i = slices.IndexFunc(all, func(e entry) bool { return e.name == name })
		}
	}
	if i >= 0 {
		return all[i], nil
	}
	if slices.Contains(plannedCommands(), name) {
		return entry{}, &usageError{
			msg:  fmt.Sprintf("the command %q is not supported yet", name),
			hint: `"coracle help" lists the commands of this version`,
		}
	}
	if err := refusePeer(name); err != nil {
		return entry{}, err
	}
	hint := `"coracle help" lists the commands`
	if f, _, two := strings.Cut(name, " "); two {
		hint = fmt.Sprintf(`"coracle %s --help" lists its commands`, f)
	}
	if near := nearestCommand(name, all); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return entry{}, &usageError{msg: fmt.Sprintf("unknown command %q", name), hint: hint}
}

// nearestCommand is what name was meant to be: of a family, one of its own.
func nearestCommand(name string, all []entry) string {
	first, second, two := strings.Cut(name, " ")
	if f, ok := findFamily(first); two && ok {
		var own []string
		for _, e := range f.members() {
			own = append(own, e.name)
		}
		if near := nearest(second, own); near != "" {
			return first + " " + near
		}
		return ""
	}
	names := []string{"help"}
	for _, e := range all {
		if !strings.Contains(e.name, " ") {
			names = append(names, e.name)
		}
	}
	for _, f := range families() {
		names = append(names, f.name)
	}
	return nearest(name, names)
}
