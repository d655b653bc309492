package cli

// Flags of docker and podman that these commands know by name only.

func (*imagesCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "history", reason: "what an image was called before is not kept"}}, name)
}

func (*rmiCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "no-prune", never: true, reason: "an image has no nameless parents that would stay", hint: "leave it out"},
		{flags: "platform", reason: "an image is of one platform"},
	}, name)
}

func (*infoCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "D debug-info", never: true, reason: "there is no daemon to debug", hint: "--debug shows what coracle does"}}, name)
}

func (*unshareCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "rootless-netns", never: true, reason: "there is no network that all containers share", hint: "leave it out: the network is the host's"}}, name)
}
