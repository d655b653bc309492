package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	compare(t, p, r, "podman", testUser, "crun", 100)
}

// TestContainerd has containerd's ctr do its work as root, once with runc and
// once with the runtime under test.
func TestContainerd(t *testing.T) {
	p := newPlace(t)
	compare(t, p, p.ociRuntime(t), "containerd", "root", "runc", 30)
}

// compare runs testdata/oci/NAME with the peer and with the runtime under
// test at a time, and tells where their transcripts, of at least that many
// command lines, differ. What differs only once is a race of the callers' (a
// terminal's output that podman loses): it is typed again, and only lines that
// differ each time count.
func compare(t *testing.T, p place, r ociRuntime, name, user, peer string, atLeast int) {
	t.Helper()
	var lasting map[string]string
	for round := range 3 {
		said := typed(t, p, p.join("oci", name), user, round, [2]string{peer, r.command})
		if n := strings.Count("\n"+said[0], "\n$ "); n < atLeast {
			t.Fatalf("%s got through %d command lines:\n%s", peer, n, said[0])
		}
		now := differing(transcript(said[0]), transcript(said[1]))
		for line, text := range now {
			t.Logf("round %d: %s", round, text)
			if _, ok := lasting[line]; round > 0 && !ok {
				delete(now, line)
			}
		}
		if lasting = now; len(lasting) == 0 {
			return
		}
	}
	for _, text := range lasting {
		t.Errorf("%s", text)
	}
}

// typed is what the script says with each of the runtimes.
func typed(t *testing.T, p place, script, user string, round int, commands [2]string) (said [2]string) {
	t.Helper()
	t.Run(fmt.Sprint("round", round), func(t *testing.T) {
		for i, command := range commands {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				path, err := exec.LookPath(command)
				must(t, err)
				dir := p.join("v", fmt.Sprint(filepath.Base(script)[:1], i, round)) // short: podman wants its runroot below 50 characters
				must(t, os.MkdirAll(dir, 0o755))
				out, err := p.v2view(t, user, dir, []string{"IN_MEMORY=yes"}, script, path)
				if err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
				said[i] = string(out)
			})
		}
	})
	return said
}

// transcript cuts at the command lines.
func transcript(text string) []string {
	return strings.Split("\n"+text, "\n$ ")[1:]
}

// differing gives both answers where they differ, by the number of the line
// and its words.
func differing(want, got []string) map[string]string {
	all := map[string]string{}
	if len(want) != len(got) {
		all["length"] = fmt.Sprintf("%d command lines with the peer, %d with the runtime under test", len(want), len(got))
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			words, _, _ := strings.Cut(want[i], "\n")
			_, answer, _ := strings.Cut(got[i], "\n")
			all[fmt.Sprint(i, " ", words)] = fmt.Sprintf("$ %s\n--- with the runtime under test\n%s", want[i], answer)
		}
	}
	return all
}
