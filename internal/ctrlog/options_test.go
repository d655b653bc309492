package ctrlog

import (
	"errors"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		driver string
		opts   []string
		want   Options
		err    string // a part of it
	}{
		{"", nil, Options{Driver: K8sFile, MaxFile: 1}, ""},
		{"none", nil, Options{Driver: None, MaxFile: 1}, ""},
		{"json-file", []string{"max-size=10m", "max-file=3", "tag=a=b"}, Options{Driver: JSONFile, MaxSize: 10_000_000, MaxFile: 3, Tag: "a=b"}, ""},
		{"k8s-file", []string{"path=/tmp/x", "max-size=1.5kb"}, Options{Driver: K8sFile, Path: "/tmp/x", MaxSize: 1500, MaxFile: 1}, ""},
		{"k8s-file", []string{"max-size=-1"}, Options{Driver: K8sFile, MaxFile: 1}, ""},
		{"journald", []string{"tag=x"}, Options{Driver: Journald, MaxFile: 1, Tag: "x"}, ""},

		{"syslog", nil, Options{}, "k8s-file, json-file, journald, none"},
		{"passthrough", nil, Options{}, "--log-driver passthrough: no such log driver"},
		{"k8s-file", []string{"tag=x"}, Options{}, "--log-opt tag: the log driver k8s-file does not know it (it knows path, max-size, max-file)"},
		{"json-file", []string{"compress=true"}, Options{}, "--log-opt compress"},
		{"none", []string{"max-size=1m"}, Options{}, "none has no options"},
		{"json-file", []string{"max-size"}, Options{}, "--log-opt max-size=: a value is missing"},
		{"json-file", []string{"max-size=ten"}, Options{}, "--log-opt max-size=ten: a size is expected"},
		{"json-file", []string{"max-size=1e3"}, Options{}, "a size is expected"},
		{"json-file", []string{"max-size=-5m"}, Options{}, "a size is expected"},
		{"json-file", []string{"max-size=1mk"}, Options{}, "a size is expected"},
		{"json-file", []string{"max-size=99999999t"}, Options{}, "a size is expected"},
		{"json-file", []string{"max-size=1m", "max-file=0"}, Options{}, "--log-opt max-file=0: a number"},
		{"json-file", []string{"max-file=3"}, Options{}, "without max-size"},
		{"json-file", []string{"path=rel"}, Options{}, "must be absolute"},
		{"json-file", []string{"tag={{.ID}}"}, Options{}, "templates"},
	}
	for _, tt := range tests {
		got, err := ParseOptions(tt.driver, tt.opts)
		got.Warn = nil
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %v: error %v, want %q", tt.driver, tt.opts, err, tt.err)
			}
		case err != nil || got.Driver != tt.want.Driver || got.Path != tt.want.Path || got.MaxSize != tt.want.MaxSize || got.MaxFile != tt.want.MaxFile || got.Tag != tt.want.Tag:
			t.Errorf("%s %v: %+v, %v; want %+v", tt.driver, tt.opts, got, err, tt.want)
		}
	}
	if _, err := ParseOptions("gelf", nil); !errors.Is(err, ErrDriver) {
		t.Errorf("gelf: %v", err)
	}
}
