package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"coracle/images"
	"coracle/spec"

	"github.com/opencontainers/go-digest"
)

// filterBoxes are c1 to c5, each a minute younger than the one before.
func filterBoxes(now time.Time) []Container {
	at := func(n int) time.Time { return now.Add(time.Duration(n-10) * time.Minute) }
	return []Container{
		{ID: "aa11" + strings.Repeat("0", 60), Name: "web", Image: "docker.io/library/base:1", ImageID: digest.FromString("base"), Created: at(1), Status: Running,
			Labels: map[string]string{"tier": "front", "empty": ""}, Network: "host", Health: "healthy", Restart: RestartPolicy{Name: "on-failure", Max: 3}},
		{ID: "bb22" + strings.Repeat("0", 60), Name: "web-db", Image: "child", ImageID: digest.FromString("child"), Created: at(2), Status: Stopped, ExitCode: 3,
			Labels: map[string]string{"tier": "back"}, Annotations: map[string]string{"owner": "me"}, Network: "left",
			Mounts: []spec.Mounted{{Type: "volume", Name: "data", Source: "/store/data", Destination: "/var/lib"}, {Type: "bind", Source: "/srv", Destination: "/mnt"}}},
		{ID: "bb33" + strings.Repeat("0", 60), Name: "job", Image: "gone:2", ImageID: digest.FromString("gone"), Created: at(3), Status: Stopped, ExitCode: 0},
		{ID: "cc44" + strings.Repeat("0", 60), Name: "new", Image: "host", Created: at(4), Status: Created},
		{ID: "dd55" + strings.Repeat("0", 60), Name: "cold", Image: "host", Created: at(5), Status: Paused, Restart: RestartPolicy{Name: "always"}},
	}
}

func filterWorld(boxes []Container, now time.Time) FilterWorld {
	return FilterWorld{
		Now: now, Networks: func() map[string][]string {
			return map[string][]string{boxes[1].ID: {"back", "front"}, boxes[3].ID: {"front"}}
		},
		Container: func(name string) (Container, error) {
			for _, c := range boxes {
				if c.Name == name {
					return c, nil
				}
			}
			return Container{}, errNotFound(name)
		},
		Image: func(name string) (*images.Image, error) {
			base, child := digest.FromString("base"), digest.FromString("child")
			switch name {
			case "base", base.String():
				return &images.Image{ID: base, ChainIDs: []digest.Digest{"sha256:1", "sha256:2"}}, nil
			case "child", child.String():
				return &images.Image{ID: child, ChainIDs: []digest.Digest{"sha256:1", "sha256:2", "sha256:3"}}, nil
			case "broken":
				return nil, errors.New("index.json is damaged")
			}
			return nil, images.ErrNotFound
		},
	}
}

func TestFilter(t *testing.T) {
	now := time.Now()
	boxes := filterBoxes(now)
	for words, want := range map[string]string{
		"network=front":                     "web-db new",
		"network=back":                      "web-db",
		"network=left":                      "",
		"":                                  "web web-db job new cold",
		"name=web":                          "web web-db",
		"name=^web$":                        "web",
		"name=^/web$":                       "web",
		"name=job name=new":                 "job new",
		"id=bb":                             "web-db job",
		"id=bb3":                            "job",
		"id=a1":                             "",
		"id=^(aa|cc)":                       "web new",
		"id=dd id=^cc":                      "new cold",
		"label=tier":                        "web web-db",
		"label=tier=back":                   "web-db",
		"label=empty":                       "web",
		"label=empty=":                      "web",
		"label=tier label=empty":            "web", // all of them
		"label!=tier":                       "job new cold",
		"label!=tier=back":                  "web job new cold",
		"label!=tier=back label!=empty":     "job new cold",
		"annotation=owner=me":               "web-db",
		"status=running":                    "web",
		"status=exited":                     "web-db job",
		"status=stopped":                    "web-db job",
		"status=created status=paused":      "new cold",
		"status=configured":                 "new",
		"status=restarting":                 "",
		"exited=3":                          "web-db",
		"exited=0":                          "job", // what runs has not ended with 0
		"exited=0 exited=3":                 "web-db job",
		"ancestor=base":                     "web web-db",
		"ancestor=child":                    "web-db",
		"image=docker.io/library/base:1":    "web",
		"ancestor=gone:2":                   "job",
		"ancestor=host":                     "new cold",
		"ancestor=nothing":                  "",
		"health=healthy":                    "web",
		"health=none":                       "web-db job new cold",
		"health=unhealthy":                  "",
		"network=host":                      "web",
		"network=none":                      "job new cold",
		"restart-policy=always":             "cold",
		"restart-policy=on-failure":         "web",
		"restart-policy=no":                 "web-db job new",
		"before=job":                        "web web-db",
		"since=job":                         "new cold",
		"before=web-db before=new":          "web web-db job",
		"since=web before=new":              "web-db job",
		"volume=data":                       "web-db",
		"volume=/srv volume=/nothing":       "web-db",
		"volume=/var/lib":                   "web-db",
		"volume=":                           "",
		"until=7m30s":                       "web web-db",
		"until=1h until=6m30s":              "web web-db job",
		"name=web status=exited exited=3":   "web-db",
		"label=tier name=db annotation=own": "",
		"ancestor=" + digest.FromString("gone").Encoded()[:12]: "job",
	} {
		f, err := ParseFilter(strings.Fields(words), filterWorld(boxes, now))
		if err != nil {
			t.Errorf("%q: %v", words, err)
			continue
		}
		var got []string
		for _, c := range boxes {
			if f.Match(c) {
				got = append(got, c.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, not %q", words, got, want)
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	now := time.Now()
	boxes := filterBoxes(now)
	for word, want := range map[string]string{
		"name":            "it has no value",
		"nam=x":           `there is no filter "nam"`,
		"pod=x":           "there are no pods",
		"name=(":          "no regular expression",
		"id=(":            "no regular expression",
		"status=runing":   `there is no state "runing"`,
		"health=well":     `there is no state of health "well"`,
		"exited=-1":       "no exit code",
		"exited=256":      "no exit code",
		"before=nothing":  "no container is called",
		"since=nothing":   "no container is called",
		"until=yesterday": "is no time",
		"ancestor=broken": "damaged",
	} {
		if _, err := ParseFilter([]string{word}, filterWorld(boxes, now)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", word, err)
		}
	}
}
