package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// push --artifact without files says what to type, before anything is asked.
func TestPushNoFiles(t *testing.T) {
	for _, line := range []string{"push --artifact --retry 0 127.0.0.1:1/x", "push --artifact --retry 0 --subject 1 127.0.0.1:1/x"} {
		got := invoke(t, &fakeEngine{}, strings.Fields(line)...)
		if got.code != 125 || !strings.Contains(got.err, "--artifact needs the files to send") || !strings.Contains(got.err, "hint: coracle push --artifact REGISTRY/NAME:TAG FILE") {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// image exists says by its exit code alone, as podman's, what is there.
func TestImageExists(t *testing.T) {
	for name, want := range map[string]int{"debian": 0, "no-x": 1} {
		f := &fakeEngine{}
		if got := invokeAs(t, f, "podman image exists "+name); got.code != want || got.out != "" || strings.Contains(got.err, "error") || strings.Join(f.asked, ",") != "image "+name {
			t.Errorf("%s: %+v, asked %q", name, got, f.asked)
		}
	}
	if got := invoke(t, &fakeEngine{err: errors.New("the store is damaged")}, "image", "exists", "x"); got.code != 125 || !strings.Contains(got.err, "the store is damaged") {
		t.Errorf("%+v", got)
	}
}

// image prune is system prune's of images, and asks before it.
func TestImagePrune(t *testing.T) {
	for line, want := range map[string]string{
		"image prune -f":                          "prune {All:false ImagesOnly:true Volumes:false Filters:[] DryRun:false}",
		"image prune --all --force":               "prune {All:true ImagesOnly:true Volumes:false Filters:[] DryRun:false}",
		"image prune -af --filter until=1h":       "prune {All:true ImagesOnly:true Volumes:false Filters:[until=1h] DryRun:false}",
		"image prune --dry-run --filter=until=1h": "prune {All:false ImagesOnly:true Volumes:false Filters:[until=1h] DryRun:true}",
	} {
		f := &fakeEngine{}
		if got := invoke(t, f, strings.Fields(line)...); got.code != 0 || got.out != "one\ntwo\n" || !strings.Contains(got.err, "reclaimed: 6 kB\n") && !strings.Contains(got.err, "Total reclaimed space: 6 kB\n") || strings.Join(f.asked, ",") != want {
			t.Errorf("%s: %+v, asked %q", line, got, f.asked)
		}
	}
	for line, want := range map[string]string{
		"image prune -f --filter label=x": `there is no filter "label"`,
		"image prune -f --external":       "--external is refused",
	} {
		f := &fakeEngine{}
		if got := invoke(t, f, strings.Fields(line)...); got.code != 125 || !strings.Contains(got.err, want) || len(f.asked) > 0 {
			t.Errorf("%s: %+v, asked %q", line, got, f.asked)
		}
	}
	f := &fakeEngine{} // standard input of a test has no answer in it
	if got := invoke(t, f, "image", "prune", "-a"); got.code != 0 || len(f.asked) > 0 || !strings.Contains(got.err, "all images that no container uses.") {
		t.Errorf("%+v, asked %q", got, f.asked)
	}
}

// logout --all is for all, and says so where there are none.
func TestLogoutAll(t *testing.T) {
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "auth.json"))
	if got := invokeAs(t, nil, "podman logout --all"); got.code != 0 || !strings.HasPrefix(got.out, "There are no login credentials in /") {
		t.Errorf("%+v", got)
	}
	if got := invoke(t, nil, "logout", "-a", "r.example"); got.code != 125 || !strings.Contains(got.err, "r.example is one") {
		t.Errorf("%+v", got)
	}
}
