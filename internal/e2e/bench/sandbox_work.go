package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a command pays for being in a sandbox once it runs.

// shellRounds runs the same script in each way, in turn, after one round of warm-up, and has figure
// look at each run. Each round begins with another way. Before each, clear is done.
func shellRounds(ways []contender, rounds int, clear func() error, figure func(*exec.Cmd, []byte) (float64, error)) (map[string][]float64, error) {
	all := map[string][]float64{}
	for round := range rounds + 1 {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			if err := clear(); err != nil {
				return nil, err
			}
			cmd := exec.Command(w.args[0], w.args[1:]...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", strings.Join(w.args, " "), err, stderr.String())
			}
			got, err := figure(cmd, out)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 {
				all[w.name] = append(all[w.name], got)
			}
		}
	}
	return all, nil
}

// besideBare makes the rows: the last way is without a sandbox. Ratios are those of what
// of makes of all rounds: their median, or their mean, which many short rounds in turn
// make steady.
func besideBare(g *Group, ways []contender, all map[string][]float64, of func([]float64) float64) {
	bare := ways[len(ways)-1].name
	for _, w := range ways {
		r := Row{Program: w.name, Median: median(all[w.name]), Least: slices.Min(all[w.name])}
		if w.name != bare {
			r.RatioTo, r.Ratio = bare, of(all[w.name])/of(all[bare])
		}
		g.Rows = append(g.Rows, r)
	}
}

// sandboxCompile is a compiler's work. The sources are those of zlib, as Debian's
// binutils has them.
func sandboxCompile(_ place, rounds int) (Group, error) {
	g := Group{Name: "Compile zlib in a sandbox", Unit: "s", Goal: "CPU time ≤ 1.03 × bare",
		Note: "processor time, the sandbox's own included, of `gcc -O2 -c` of zlib's 15 files, one process each, from Debian's binutils-source; eighteen rounds in turn, ratios of the means; changes that are kept are on the disk; bubblewrap with the directory writable"}
	const script = "for f in zlib/*.c; do gcc -w -O2 -DHAVE_UNISTD_H -c $f -o out/${f##*/}.o; done; times"
	err := inWork(func(home, work string) error {
		if err := command("sh", "-ec", "mkdir -p zlib out && tar xf /usr/src/binutils/binutils-*.tar.xz --strip-components=2 -C zlib --wildcards 'binutils-*/zlib/*.[ch]'"); err != nil {
			return err
		}
		sh := []string{"sh", "-ec", script}
		ways := []contender{{"coracle", inSandbox(append([]string{"--"}, sh...)...)}, {"coracle, kept", keeping(sh)},
			{"bubblewrap", inBubblewrap(home, append([]string{"--bind", work, work}, sh...)...)}, {"bare", sh}}
		all, err := shellRounds(ways, min(rounds, 18), func() error { return command("sh", "-ec", "rm -f out/*; "+dropKept) }, processorTime)
		if err != nil {
			return err
		}
		besideBare(&g, ways, all, mean)
		return command("sh", "-ec", "rm -rf zlib out; "+dropKept)
	})
	return g, err
}

// processorTime is that of a process and all that it has waited for: bubblewrap leaves its
// child to others, so the shell inside says what its own took (times), which is less than
// the whole elsewhere.
func processorTime(cmd *exec.Cmd, out []byte) (float64, error) {
	inside := 0.0
	for w := range strings.FieldsSeq(string(out)) {
		d, err := time.ParseDuration(w)
		if err != nil {
			return 0, err
		}
		inside += d.Seconds()
	}
	return max(inside, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()), nil
}

// sandboxWrite is what the overlay of the current directory costs who writes many files.
func sandboxWrite(_ place, rounds int) (Group, error) {
	g := Group{Name: "Write 10,000 files in a sandbox", Unit: "ms", Goal: "≤ 1.15 × bare",
		Note: "as `npm install` does it: `tar x` of 10,000 files of 0.2 to 8 KB in 1,000 directories into the current directory; the time that tar takes, inside; five rounds in turn, ratios of the medians; changes that are kept are on the disk, others in memory; bubblewrap with the directory writable, without an overlay"}
	const script = "began=$(date +%s%N); tar xf files.tar -C node_modules; echo $(($(date +%s%N) - began))"
	err := inWork(func(home, work string) error {
		if err := command("python3", "-c", `
import io, tarfile
with tarfile.open("files.tar", "w") as t:
    for n in range(10000):
        i = tarfile.TarInfo(f"package{n // 100}/lib{n // 10 % 10}/{n}.js"); i.size = 200 + n * 7919 % 7800; i.mode = 0o644
        t.addfile(i, io.BytesIO(b"x" * i.size))
`); err != nil {
			return err
		}
		sh := []string{"sh", "-ec", script}
		ways := []contender{{"coracle, kept", keeping(sh)}, {"coracle", inSandbox(append([]string{"--"}, sh...)...)},
			{"bubblewrap", inBubblewrap(home, append([]string{"--bind", work, work}, sh...)...)}, {"bare", sh}}
		all, err := shellRounds(ways, min(rounds, 5), func() error {
			return command("sh", "-ec", "rm -rf node_modules; mkdir node_modules; coracle discard --all")
		}, func(_ *exec.Cmd, out []byte) (float64, error) {
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			return float64(ns) / 1e6, err
		})
		if err != nil {
			return err
		}
		besideBare(&g, ways, all, median)
		return command("sh", "-ec", "rm -rf files.tar node_modules; "+dropKept)
	})
	return g, err
}

// sandboxLoop runs a thousand, and looks at what is left of them.
func sandboxLoop(_ place, _ int) (Group, error) {
	const runs, part = 1000, 100
	g := Group{Name: "A thousand sandboxes, one after the other", Unit: "ms", Goal: "≤ 1.05 × the first, and nothing left",
		Note: "`coracle sandbox --on-exit discard -- true`; files of the store and the runtime directory, mounts and processes are the same afterwards as after the first"}
	err := inWork(func(_, _ string) error {
		once := inSandbox("--", "true")
		if err := command(once...); err != nil {
			return err
		}
		before, err := leftovers()
		if err != nil {
			return err
		}
		var all []float64
		for range runs {
			began := time.Now()
			if err := command(once...); err != nil {
				return err
			}
			all = append(all, float64(time.Since(began).Microseconds())/1000)
		}
		after, err := leftovers()
		if err != nil {
			return err
		}
		if before != after {
			return fmt.Errorf("left after %d runs: %s; before: %s", runs, after, before)
		}
		first, last := all[:part], all[runs-part:]
		g.Rows = append(g.Rows, Row{Program: "coracle, the last 100", Median: median(last), Least: slices.Min(last), RatioTo: "the first 100", Ratio: median(last) / median(first)},
			Row{Program: "coracle, the first 100", Median: median(first), Least: slices.Min(first)})
		return nil
	})
	return g, err
}

// leftovers is what sandboxes could leave: names of files of ours, numbers of mounts and of
// processes of coracle's.
func leftovers() (string, error) {
	out, err := exec.Command("sh", "-ec", `find "$HOME/.local/share/coracle" "$XDG_RUNTIME_DIR" | sort
		grep -c . /proc/self/mountinfo; pgrep -c -u "$(id -u)" -f '^(\[coracle|coracle sandbox)' || [ $? = 1 ]`).Output()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		err = fmt.Errorf("%w: %s", err, ee.Stderr)
	}
	return string(out), err
}

func command(args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
