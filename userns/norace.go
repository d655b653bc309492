//go:build !race

package userns

const raceDetector = false
