package engine

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

func sortNewest(all []Container) {
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
}

// checkName accepts what docker and podman accept: [a-zA-Z0-9][a-zA-Z0-9_.-]*.
func checkName(name string) error {
	for i, r := range name {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && strings.ContainsRune("_.-", r)
		if !ok {
			return &Error{Op: fmt.Sprintf("name the container %q", name), Err: errors.New("a name starts with a letter or digit, and has letters, digits, _ . - after it")}
		}
	}
	if len(name) > 200 {
		return &Error{Op: "name the container", Err: fmt.Errorf("a name of %d bytes is too long: 200 are allowed", len(name))}
	}
	return nil
}

// Small boats and how they may be.
const (
	boats = "barge bark brig canoe caravel catboat clipper cog coble currach cutter dhow dinghy dory felucca ferry gig gondola hoy jangada jolly junk kayak keelboat ketch knarr launch lugger packet pinnace pirogue pram proa punt raft sampan scow scull shallop skiff sloop smack snow tartane tender trawler trow umiak whaler wherry xebec yacht yawl"
	moods = "able agile amber bold brave brisk bright calm clear clever cool crisp deft eager early fair fast fine fleet fond free fresh gentle glad good grand happy hardy jolly keen kind lively loyal lucky merry mild neat noble plain proud quick quiet rapid ready sharp shiny silent smart snug solid stout sunny swift tidy trim true warm wise witty young"
)

// randomName is two words, and a number once those were taken.
func randomName(try int) string {
	name := pick(moods) + "_" + pick(boats)
	if try > 2 {
		name += fmt.Sprint(randomInt(1000))
	}
	return name
}

func pick(words string) string {
	list := strings.Fields(words)
	return list[randomInt(len(list))]
}

func randomInt(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0 // never: crypto/rand ends the process instead
	}
	return int(v.Int64())
}
