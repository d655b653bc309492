package main

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// inits reads the initialisation of each package, the median of eleven starts.
func inits(p place) ([]Init, error) {
	millis := map[string][]float64{}
	bytes := map[string]int64{}
	for range 11 {
		cmd := exec.Command(p.join("bin/coracle"), "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, err
		}
		// init NAME @0.1 ms, 0.02 ms clock, 1234 bytes, 5 allocs
		for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
			f := strings.Fields(s.Text())
			if len(f) < 8 || f[0] != "init" {
				continue
			}
			ms, _ := strconv.ParseFloat(f[4], 64)
			millis[f[1]] = append(millis[f[1]], ms)
			bytes[f[1]], _ = strconv.ParseInt(f[7], 10, 64)
		}
	}
	var all []Init
	for name, v := range millis {
		all = append(all, Init{name, median(v), bytes[name]})
	}
	slices.SortFunc(all, func(a, b Init) int {
		if a.Millis != b.Millis {
			if a.Millis > b.Millis {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Package, b.Package)
	})
	return all, nil
}
