package engine

import (
	"context"
	"slices"
	"sync"
	"testing"

	"coracle/spec"
)

// TestCheckNames: which names are looked for before a start, and what is said of them.
func TestCheckNames(t *testing.T) {
	for _, c := range []struct {
		words []string
		hosts []string
		asked []string
		want  string
	}{
		{[]string{"a.example", "b.example:443"}, nil, []string{"a.example", "b.example"}, ""},
		{[]string{"a.example", "Typo.example:443"}, nil, []string{"a.example", "typo.example"}, "--allow-net Typo.example:443: there is no such name"},
		{[]string{"*.typo.example", "*", "host:80", "10.0.0.1", "10.0.0.0/8", "printer", "host.containers.internal"}, nil, nil, ""},
		{[]string{"typo.example"}, []string{"typo.example:10.0.0.1"}, nil, ""},
	} {
		var mu sync.Mutex
		var asked []string
		err := checkNames(t.Context(), RunOptions{Options: spec.Options{AddHosts: c.hosts}, NetworkOptions: NetworkOptions{EgressOptions: EgressOptions{AllowNet: c.words}}}, func(_ context.Context, name string) bool {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, name)
			return name == "typo.example"
		})
		says(t, c.words[0], err, c.want)
		slices.Sort(asked)
		if !slices.Equal(asked, c.asked) {
			t.Errorf("%v: asked for %q, not %q", c.words, asked, c.asked)
		}
	}
}
