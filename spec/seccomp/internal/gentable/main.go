// Command gentable writes the system call tables of package seccomp.
//
//	go run ./internal/gentable -csv …/libseccomp/src/syscalls.csv -o table_gen.go
//
// The numbers come from two places: libseccomp's syscalls.csv (`apt-get
// source libseccomp`, 2.6.0 as of now; every name that any architecture has,
// so that a name which is merely foreign here can be told from a typing
// error), and golang.org/x/sys/unix's zsysnum files for system calls that are
// newer than that file. Where both know a number they must agree.
package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Columns of the generated table, in the order of package seccomp's archID.
var columns = []struct{ csv, goarch string }{
	{"x86_64", "amd64"}, {"x86", "386"}, {"x32", ""}, {"aarch64", "arm64"}, {"arm", "arm"},
}

const absent = -1

// mux lists the i386 system calls that can also be reached through
// socketcall(2) (linux/net.h SYS_*, as 100+n) and ipc(2) (linux/ipc.h, as
// 200+n); the encoding is libseccomp's.
var mux = map[string]int{
	"socket": 101, "bind": 102, "connect": 103, "listen": 104, "accept": 105,
	"getsockname": 106, "getpeername": 107, "socketpair": 108, "send": 109,
	"recv": 110, "sendto": 111, "recvfrom": 112, "shutdown": 113,
	"setsockopt": 114, "getsockopt": 115, "sendmsg": 116, "recvmsg": 117,
	"accept4": 118, "recvmmsg": 119, "sendmmsg": 120,
	"semop": 201, "semget": 202, "semctl": 203, "semtimedop": 204,
	"msgsnd": 211, "msgrcv": 212, "msgget": 213, "msgctl": 214,
	"shmat": 221, "shmdt": 222, "shmget": 223, "shmctl": 224,
}

type table map[string][]int

func main() {
	csvPath := flag.String("csv", "", "libseccomp's src/syscalls.csv")
	out := flag.String("o", "table_gen.go", "file to write")
	flag.Parse()
	if err := run(*csvPath, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gentable:", err)
		os.Exit(1)
	}
}

func run(csvPath, out string) error {
	tab, version, err := readCSV(csvPath)
	if err != nil {
		return err
	}
	added, err := mergeGo(tab)
	if err != nil {
		return err
	}
	src, err := format.Source(render(tab, version, added))
	if err != nil {
		return fmt.Errorf("format the table: %w", err)
	}
	return os.WriteFile(out, src, 0o644)
}

func readCSV(path string) (table, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	version := strings.Trim(strings.TrimPrefix(rows[0][0], "#syscall "), "()")
	var at []int
	for _, c := range columns {
		i := slices.Index(rows[0], c.csv)
		if i < 0 {
			return nil, "", fmt.Errorf("%s: no column %q", path, c.csv)
		}
		at = append(at, i)
	}
	tab := table{}
	for _, row := range rows[1:] {
		nrs := make([]int, len(columns))
		for i, col := range at {
			nrs[i] = absent
			if row[col] == "PNR" {
				continue
			}
			if nrs[i], err = strconv.Atoi(row[col]); err != nil {
				return nil, "", fmt.Errorf("%s: %s on %s: %w", path, row[0], columns[i].csv, err)
			}
		}
		tab[row[0]] = nrs
	}
	return tab, version, nil
}

// mergeGo adds what x/sys/unix knows and the CSV does not, and reports the
// names it added.
func mergeGo(tab table) ([]string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		return nil, fmt.Errorf("find golang.org/x/sys: %w", err)
	}
	line := regexp.MustCompile(`^\s+SYS_(\w+)\s+= (\d+)`)
	added := map[string]bool{}
	for i, c := range columns {
		if c.goarch == "" {
			continue
		}
		src, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+c.goarch+".go"))
		if err != nil {
			return nil, err
		}
		for sc := bufio.NewScanner(bytes.NewReader(src)); sc.Scan(); {
			m := line.FindStringSubmatch(sc.Text())
			if m == nil {
				continue
			}
			name := goName(c.goarch, strings.ToLower(m[1]))
			if name == "" {
				continue
			}
			nr, _ := strconv.Atoi(m[2])
			if tab[name] == nil {
				tab[name] = slices.Repeat([]int{absent}, len(columns))
				added[name] = true
			}
			switch old := tab[name][i]; {
			case old == absent && added[name]:
				tab[name][i] = nr
				// A system call that is new enough has one number on
				// every architecture (424 and up), so x32 has it too.
				if c.goarch == "amd64" && nr >= 424 {
					tab[name][slices.IndexFunc(columns, func(c struct{ csv, goarch string }) bool { return c.csv == "x32" })] = nr
				}
			case old != nr:
				return nil, fmt.Errorf("%s on %s: the CSV says %d, x/sys/unix says %d", name, c.goarch, old, nr)
			}
		}
	}
	names := make([]string, 0, len(added))
	for n := range added {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// goName undoes the few places where x/sys/unix spells a number's name in its
// own way, and returns "" for constants that are no system calls.
func goName(goarch, name string) string {
	switch {
	case goarch == "arm64" && name == "fstatat":
		return "newfstatat"
	case name == "syscall_mask", name == "arch_specific_syscall":
		return ""
	}
	return name
}

func render(tab table, version string, added []string) []byte {
	names := make([]string, 0, len(tab))
	for n := range tab {
		names = append(names, n)
	}
	slices.Sort(names)
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated by internal/gentable; DO NOT EDIT.\n\npackage seccomp\n\n")
	fmt.Fprintf(&b, "// Sources: libseccomp's syscalls.csv (%s) and, for\n// %s,\n// golang.org/x/sys/unix.\n\n", version, strings.Join(added, ", "))
	fmt.Fprintf(&b, "// tableNames holds every name, sorted and run together; tableEnds says where\n// each one ends. Constant data: nothing here runs at start.\nconst tableNames = \"\" +\n")
	var ends []int
	total := 0
	for i, n := range names {
		total += len(n)
		ends = append(ends, total)
		sep := " +\n"
		if i == len(names)-1 {
			sep = "\n\n"
		}
		fmt.Fprintf(&b, "%q%s", n, sep)
	}
	fmt.Fprintf(&b, "var tableEnds = [...]uint16{")
	for i, e := range ends {
		if i%16 == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%d, ", e)
	}
	fmt.Fprintf(&b, "\n}\n\n// tableNumbers has one column per archID, and last the i386 multiplexer's\n// number (socketcall: 100+n, ipc: 200+n, 0 for none).\nvar tableNumbers = [...][archCount + 1]int32{\n")
	for _, n := range names {
		fmt.Fprintf(&b, "{")
		for _, nr := range tab[n] {
			fmt.Fprintf(&b, "%d, ", nr)
		}
		fmt.Fprintf(&b, "%d}, // %s\n", mux[n], n)
	}
	fmt.Fprintf(&b, "}\n")
	return b.Bytes()
}
