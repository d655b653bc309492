package review

import (
	"fmt"
	"sort"
	"strings"
)

// edit is a stretch of lines: a[A:A+AN] becomes b[B:B+BN].
type edit struct{ a, an, b, bn int }

// lineEdits finds what is different between two lists of lines. Lines that stand once in
// each are the anchors, of which the longest run in the same order is kept (Szymanski,
// 1975, as in patience diff): n log n at worst, also for what was made to be slow.
func lineEdits(a, b []string) []edit {
	var out []edit
	ai, bi := 0, 0
	for _, m := range anchors(a, b) {
		if m[0] < ai {
			continue // taken by the stretch before
		}
		sa, sb := m[0], m[1]
		for sa > ai && sb > bi && a[sa-1] == b[sb-1] {
			sa, sb = sa-1, sb-1
		}
		ea, eb := m[0], m[1]
		for ea < len(a) && eb < len(b) && a[ea] == b[eb] {
			ea, eb = ea+1, eb+1
		}
		if sa > ai || sb > bi {
			out = append(out, edit{ai, sa - ai, bi, sb - bi})
		}
		ai, bi = ea, eb
	}
	return out
}

// anchors are pairs of equal lines in order, with the beginning and the end.
func anchors(a, b []string) [][2]int {
	type seen struct{ na, nb, at int }
	lines := map[string]*seen{}
	for _, l := range a {
		if s := lines[l]; s != nil {
			s.na++
		} else {
			lines[l] = &seen{na: 1}
		}
	}
	for i, l := range b {
		if s := lines[l]; s != nil {
			s.nb, s.at = s.nb+1, i
		}
	}
	var pairs [][2]int
	for i, l := range a {
		if s := lines[l]; s.na == 1 && s.nb == 1 {
			pairs = append(pairs, [2]int{i, s.at})
		}
	}
	out := [][2]int{{0, 0}}
	out = append(out, increasing(pairs)...)
	return append(out, [2]int{len(a), len(b)})
}

// increasing is the longest part of pairs, sorted by the first, in which the second grows, too.
func increasing(pairs [][2]int) [][2]int {
	var tails []int // the pair that ends the best run of each length
	before := make([]int, len(pairs))
	for i, p := range pairs {
		n := sort.Search(len(tails), func(k int) bool { return pairs[tails[k]][1] >= p[1] })
		before[i] = -1
		if n > 0 {
			before[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	out := make([][2]int, len(tails))
	for n := len(tails) - 1; n >= 0; n-- {
		at := tails[len(tails)-1]
		if n < len(tails)-1 {
			at = before[indexOf(pairs, out[n+1])]
		}
		out[n] = pairs[at]
	}
	return out
}

// indexOf finds a pair by its first number.
func indexOf(pairs [][2]int, p [2]int) int {
	return sort.Search(len(pairs), func(i int) bool { return pairs[i][0] >= p[0] })
}

// unified writes hunks with three lines around each change.
func unified(w *strings.Builder, a, b []string) {
	const around = 3
	edits := lineEdits(a, b)
	for len(edits) > 0 {
		n := 1
		for n < len(edits) && edits[n].a-(edits[n-1].a+edits[n-1].an) <= 2*around {
			n++
		}
		hunk(w, a, b, edits[:n], around)
		edits = edits[n:]
	}
}

func hunk(w *strings.Builder, a, b []string, edits []edit, around int) {
	first, last := edits[0], edits[len(edits)-1]
	lead := min(around, first.a)
	trail := min(around, len(a)-(last.a+last.an))
	a0, b0 := first.a-lead, first.b-lead
	an, bn := last.a+last.an+trail-a0, last.b+last.bn+trail-b0
	fmt.Fprintf(w, "@@ -%s +%s @@\n", span(a0, an), span(b0, bn))
	at := a0
	for _, e := range edits {
		put(w, ' ', a[at:e.a])
		put(w, '-', a[e.a:e.a+e.an])
		put(w, '+', b[e.b:e.b+e.bn])
		at = e.a + e.an
	}
	put(w, ' ', a[at:at+trail])
}

func span(from, n int) string {
	if n == 0 {
		return fmt.Sprintf("%d,0", from)
	}
	if n == 1 {
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, n)
}

func put(w *strings.Builder, sign byte, lines []string) {
	for _, l := range lines {
		w.WriteByte(sign)
		text, whole := strings.CutSuffix(l, "\n")
		w.WriteString(harmless(text))
		w.WriteByte('\n')
		if !whole {
			w.WriteString("\\ No newline at end of file\n")
		}
	}
}
