package cli

import "strings"

// nearest is the name that typed was most likely meant to be, "" when none
// is close: at most a third of its letters may be wrong.
func nearest(typed string, names []string) string {
	best, bestDistance := "", max(1, len(typed)/3)+1
	for _, name := range names {
		d := distance(typed, name)
		if len(typed) >= 3 && strings.HasPrefix(name, typed) {
			d = 1
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
