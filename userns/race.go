//go:build race

package userns

// The race detector's calls around childLoop know nothing of a stack of ours.
const raceDetector = true
