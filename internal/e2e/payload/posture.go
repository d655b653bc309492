package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// facts are what the attempts aim at: NAME=VALUE words, from the script that has
// planted it.
type facts map[string]string

// posture is one attempt. It says what it has got hold of; "" is nothing.
type posture struct {
	line string // of the security checklist
	name string
	try  func(f facts) string
}

func postures() []posture {
	out := filePostures()
	out = append(out, kernelPostures()...)
	return append(out, reachPostures()...)
}

// attempt tries everything there is, each in a process of its own, which a filter may
// kill, and prints "LINE NAME open|closed WHAT".
//
//	posture NAME=VALUE…
//	posture only=ATTEMPT NAME=VALUE…
func runPostures(args []string) error {
	f := facts{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		f[name] = value
	}
	for _, p := range postures() {
		switch f["only"] {
		case p.name:
			fmt.Print(p.try(f))
			return nil
		case "":
			got := p.alone(args)
			word := "closed"
			if got != "" {
				word = "open"
			}
			fmt.Printf("%s %s %s %s\n", p.line, p.name, word, got)
		}
	}
	return nil
}

func (p posture) alone(args []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	out, err := exec.CommandContext(ctx, self, append([]string{"posture", "only=" + p.name}, args...)...).Output()
	if err != nil {
		return "" // killed by a filter, or the runtime could not go on
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// got is what an attempt says when there was no error.
func got(err error, what string) string {
	if err != nil {
		return ""
	}
	return what
}
