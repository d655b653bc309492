package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// render writes the page.
func render(r *Report) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n`make bench` measured this and wrote this page: every program in one run on one machine, in turn and in another order each time, after three\n" +
		"rounds of warm-up. Short commands: the median of 30 rounds back to back, the least of them, and the median with 200 ms\n" +
		"between (an idle machine answers otherwise than a busy one). Ratios are the ones to look at: the milliseconds are this machine's.\n\n")
	for _, facts := range [][]Fact{r.Machine, r.Peers} {
		for _, f := range facts {
			fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
		}
	}
	for _, g := range r.Groups {
		renderGroup(&b, g)
	}
	if len(r.Inits) > 0 {
		renderInits(&b, r.Inits)
	}
	return b.String()
}

// merge puts the sections of a report into an older page, each in the place of
// the one with the same heading, new ones at the end. They say which build
// they are of: the page's head stays that of the others.
func merge(old string, r *Report) string {
	const mark = "\n## "
	sections := strings.Split(strings.TrimSuffix(old, "\n"), mark)
	fresh := strings.Split(strings.TrimSuffix(render(r), "\n"), mark)[1:]
	build := ""
	for _, f := range r.Machine {
		if f.Name == "coracle" {
			build = "\n\nMeasured later than the other sections, with coracle " + f.Value + "."
		}
	}
	for _, s := range fresh {
		heading, _, _ := strings.Cut(s, "\n")
		i := slices.IndexFunc(sections, func(o string) bool { return strings.HasPrefix(o, heading+"\n") })
		if i < 0 {
			i, sections = len(sections), append(sections, "")
		}
		sections[i] = strings.TrimSuffix(s, "\n") + build + "\n"
	}
	return strings.Join(sections, mark)
}

func renderGroup(b *strings.Builder, g Group) {
	fmt.Fprintf(b, "\n## %s\n\n%s. Goal: %s.\n\n", g.Name, g.Note, g.Goal)
	peak, apart, cpu := false, false, false
	for _, row := range g.Rows {
		peak, apart, cpu = peak || row.Peak > 0, apart || row.Apart > 0, cpu || row.CPU > 0
	}
	head, rule := "| | median, "+g.Unit+" | least |", "|---|---:|---:|"
	if apart {
		head, rule = head+" 200 ms apart |", rule+"---:|"
	}
	if peak {
		head, rule = head+" peak memory, MB |", rule+"---:|"
	}
	if cpu {
		head, rule = head+" CPU s per GB |", rule+"---:|"
	}
	fmt.Fprintf(b, "%s ratio |\n%s---|\n", head, rule)
	for _, row := range g.Rows {
		fmt.Fprintf(b, "| %s | %.2f | %.2f |", row.Program, row.Median, row.Least)
		if apart {
			fmt.Fprintf(b, " %.2f |", row.Apart)
		}
		if peak {
			fmt.Fprintf(b, " %.0f |", row.Peak)
		}
		if cpu {
			fmt.Fprintf(b, " %.2f |", row.CPU)
		}
		switch {
		case row.RatioTo == "":
			b.WriteString(" |\n")
		case apart:
			fmt.Fprintf(b, " %.3f × %s, apart %.3f × |\n", row.Ratio, row.RatioTo, row.RatioAt)
		default:
			fmt.Fprintf(b, " %.3f × %s |\n", row.Ratio, row.RatioTo)
		}
	}
	if g.Unit == "ms" || g.Unit == "s" {
		fmt.Fprintf(b, "\n![%s](%s)\n", strings.ReplaceAll(g.Name, "`", ""), chartName(g))
	}
}

func renderInits(b *strings.Builder, all []Init) {
	total := 0.0
	for _, i := range all {
		total += i.Millis
	}
	fmt.Fprintf(b, "\n## Package initialisation\n\n%.2f ms for all %d packages that do anything (`GODEBUG=inittrace=1`, median of 11). Goal: ≤ 2 ms, aim 1. Those above 0.01 ms:\n\n| package | ms | bytes |\n|---|---:|---:|\n", total, len(all))
	for _, i := range all {
		if i.Millis > 0.01 {
			fmt.Fprintf(b, "| %s | %.3f | %d |\n", i.Package, i.Millis, i.Bytes)
		}
	}
}

func chartName(g Group) string {
	var b strings.Builder
	for _, r := range strings.ToLower(g.Name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	return "benchmark-" + strings.Trim(name[:min(len(name), 32)], "-") + ".svg"
}

func charts(r *Report) map[string]string {
	all := map[string]string{}
	for _, g := range r.Groups {
		if g.Unit == "ms" || g.Unit == "s" {
			all[chartName(g)] = chart(g)
		}
	}
	return all
}

// chart draws a group's medians as horizontal bars, readable on light and
// dark pages.
func chart(g Group) string {
	const width, label, bar, step = 720, 190, 22, 34
	longest := 0.0
	for _, row := range g.Rows {
		longest = max(longest, row.Median)
	}
	var b strings.Builder
	height := 48 + step*len(g.Rows)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="14" role="img">`+"\n", width, height, width, height)
	title := strings.ReplaceAll(g.Name, "`", "")
	fmt.Fprintf(&b, `<title>%s</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n", html.EscapeString(title))
	fmt.Fprintf(&b, `<text x="12" y="24" font-weight="bold" fill="#222">%s, %s</text>`+"\n", html.EscapeString(title), g.Unit)
	for i, row := range g.Rows {
		y := 40 + i*step
		fill := "#9aa5b1"
		if strings.HasPrefix(row.Program, "coracle") {
			fill = "#2a7f62"
		}
		w := max(2, row.Median/longest*(width-label-110))
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#222">%s</text>`, label-8, y+16, html.EscapeString(row.Program))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, label, y, w, bar, fill)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#222">%.1f %s</text>`+"\n", label+w+8, y+16, row.Median, g.Unit)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
