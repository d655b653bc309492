package cli

import (
	"encoding/json"

	"coracle/spec"
)

type ociFeaturesCmd struct{}

func (*ociFeaturesCmd) Help() string {
	return `Prints what this runtime knows of the specification, as JSON (runtime-spec
features.md); what the kernel and the caller can have of it is another matter.`
}

func (*ociFeaturesCmd) run(a *app) (int, error) {
	b := readBuild()
	annotations := map[string]string{
		"coracle.version": b.Version,
		// By this key callers of runc know whether to ask for checkpoints.
		"org.opencontainers.runc.checkpoint.enabled": "true",
	}
	if b.Commit != "" {
		annotations["coracle.commit"] = b.Commit
	}
	data, err := json.MarshalIndent(spec.Features(annotations), "", "    ")
	if err != nil {
		return 1, err
	}
	_, err = a.out.Write(append(data, '\n'))
	return 0, err
}
