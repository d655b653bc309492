package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The words for a container's health; "" is that of one without a check.
const (
	healthStarting = "starting"
	healthHealthy  = "healthy"
	healthBad      = "unhealthy"
)

// Health is what checks have found, containers/ID/health.json and inspect's
// State.Health.
type Health struct {
	Status        string         // starting, healthy or unhealthy
	FailingStreak int            // failures in a row that count
	Log           []HealthResult // the last five, newest last
}

// HealthResult is one check.
type HealthResult struct {
	Start    time.Time
	End      time.Time
	ExitCode int    // -1: it took too long, or could not be executed
	Output   string // of both streams, its first 500 bytes
}

const (
	healthFile   = "health.json"
	healthLog    = 5   // results that are kept: podman's
	healthOutput = 500 // bytes of each: podman's
)

// after is the health with one more result. Failures do not count in the start
// period, which a first success ends. Source: docker, HEALTHCHECK.
func (h Health) after(r HealthResult, c HealthCheck, started time.Time) Health {
	switch {
	case r.ExitCode == 0:
		h.Status, h.FailingStreak = healthHealthy, 0
	case h.Status == healthStarting && r.Start.Before(started.Add(c.StartPeriod)):
	default:
		if h.FailingStreak++; h.FailingStreak >= c.Retries {
			h.Status = healthBad
		}
	}
	h.Log = append(append([]HealthResult{}, h.Log...), r)
	h.Log = h.Log[max(0, len(h.Log)-healthLog):]
	return h
}

// wait is the time until the next check.
func (h Health) wait(c HealthCheck, started, now time.Time) time.Duration {
	if h.Status == healthStarting && now.Before(started.Add(c.StartPeriod)) {
		return c.StartInterval
	}
	return c.Interval
}

// Health is what checks have found of a container; nil for one without.
func (e *Engine) Health(id string) (*Health, error) {
	data, err := os.ReadFile(filepath.Join(e.containerDir(id), healthFile))
	if isNotFound(err) {
		return nil, nil
	}
	var h Health
	if err == nil {
		err = json.Unmarshal(data, &h)
	}
	if err != nil {
		return nil, fmt.Errorf("read the health of container %.12s: %w", id, err)
	}
	return &h, nil
}

// save replaces the file: its readers see the old one or the new.
func (h Health) save(dir string) error {
	return writeJSON(filepath.Join(dir, healthFile), h, false)
}
