package images

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
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

// setHealthcheck reads HEALTHCHECK [OPTIONS] CMD COMMAND, or NONE. Source:
// Dockerfile reference, "HEALTHCHECK".
func setHealthcheck(c *Settings, line string) string {
	h := &Healthcheck{}
	word, rest, _ := strings.Cut(line, " ")
	for strings.HasPrefix(word, "--") {
		key, value, _ := strings.Cut(word[2:], "=")
		if !h.option(key, value) {
			return quote(word) + " is not --interval, --timeout, --start-period or --start-interval with a time, nor --retries with a number"
		}
		word, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
	}
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(word, "NONE") && rest == "" && line == word:
		h.Test = []string{"NONE"}
	case strings.EqualFold(word, "CMD") && strings.HasPrefix(rest, "["):
		var list []string
		if json.Unmarshal([]byte(rest), &list) != nil || len(list) == 0 {
			return quote(rest) + " is not a list of words"
		}
		h.Test = append([]string{"CMD"}, list...)
	case strings.EqualFold(word, "CMD") && rest != "":
		h.Test = []string{"CMD-SHELL", rest}
	default:
		return "it is [OPTIONS] CMD COMMAND, or NONE"
	}
	c.Healthcheck = h
	return ""
}

func (h *Healthcheck) option(key, value string) bool {
	if key == "retries" {
		n, err := strconv.ParseUint(value, 10, 31)
		h.Retries = int(n)
		return err == nil
	}
	into := map[string]*time.Duration{"interval": &h.Interval, "timeout": &h.Timeout, "start-period": &h.StartPeriod, "start-interval": &h.StartInterval}[key]
	d, err := time.ParseDuration(value)
	if into == nil || err != nil || d < 0 {
		return false
	}
	*into = d
	return true
}
