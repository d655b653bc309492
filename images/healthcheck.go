package images

import (
	"bytes"
	"encoding/json"
	"time"
)

// Healthcheck is docker's extension of the configuration, config.Healthcheck,
// which a Dockerfile's HEALTHCHECK makes. Times are nanoseconds there; 0 is not
// given. Source: docker image specification v1.3, "Healthcheck".
type Healthcheck struct {
	Test          []string      // CMD ARG..., CMD-SHELL LINE, or NONE; empty: not given
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// parseHealthcheck reads it from a configuration; nil where there is none.
func parseHealthcheck(raw []byte) (*Healthcheck, error) {
	if !bytes.Contains(raw, []byte(`"Healthcheck"`)) { // most, and each start reads one
		return nil, nil
	}
	var c struct {
		Config struct{ Healthcheck *Healthcheck } `json:"config"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fail(ErrCorrupt, "the configuration's health check").because(err)
	}
	h := c.Config.Healthcheck
	if h != nil && (h.Interval < 0 || h.Timeout < 0 || h.StartPeriod < 0 || h.StartInterval < 0 || h.Retries < 0) {
		return nil, fail(ErrCorrupt, "the configuration's health check has a time or a number below 0")
	}
	return h, nil
}
