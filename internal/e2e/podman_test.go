package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPodman types the command lines of testdata/oci/podman as the test user,
// once with crun and once with the runtime under test below podman and
// buildah, and wants them to say the same. CORACLE_E2E_RUNTIME=crun holds crun
// against itself, which proves that the transcripts can be compared.
func TestPodman(t *testing.T) {
	p := newPlace(t)
	r := p.ociRuntime(t)
	crun, err := exec.LookPath("crun")
	must(t, err)
	ours := r.command
	if r.name != "coracle" {
		ours, err = exec.LookPath(r.command)
		must(t, err)
	}
	var said [2]string
	t.Run("type", func(t *testing.T) {
		for i, command := range []string{crun, ours} {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				said[i] = p.podman(t, fmt.Sprintf("podman%d", i), command)
			})
		}
	})
	if n := strings.Count(said[0], "\n$ "); n < 100 {
		t.Fatalf("crun got through %d command lines:\n%s", n, said[0])
	}
	if said[0] == said[1] {
		return
	}
	for _, d := range differing(transcript(said[0]), transcript(said[1])) {
		t.Errorf("%s", d)
	}
}

// podman gives the transcript of the command lines on that runtime.
func (p place) podman(t *testing.T, name, command string) string {
	dir := p.join("v", name)
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, nil, p.join("oci/podman"), command)
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// transcript cuts at the command lines.
func transcript(text string) []string {
	return strings.Split("\n"+text, "\n$ ")[1:]
}

// differing gives, for each command line, both answers where they differ.
func differing(want, got []string) (all []string) {
	if len(want) != len(got) {
		all = append(all, fmt.Sprintf("%d command lines with crun, %d with the runtime under test", len(want), len(got)))
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			_, answer, _ := strings.Cut(got[i], "\n")
			all = append(all, fmt.Sprintf("$ %s\n--- with the runtime under test\n%s", want[i], answer))
		}
	}
	return all
}
