package images

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestParseHealthcheck(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want *Healthcheck
		ok   bool
	}{
		{`{"config":{"Cmd":["sh"]}}`, nil, true},
		{`{"config":{"Healthcheck":null}}`, nil, true},
		{`{"config":{"Healthcheck":{"Test":["NONE"]}}}`, &Healthcheck{Test: []string{"NONE"}}, true},
		{`{"config":{"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5}}}`,
			&Healthcheck{[]string{"CMD-SHELL", "true"}, time.Second, 2, 3, 4, 5}, true},
		{`{"config":{"Labels":{"Healthcheck":"no"}}}`, nil, true},
		{`{"config":{"Healthcheck":{"Test":"true"}}}`, nil, false},
		{`{"config":{"Healthcheck":{"Interval":"1s"}}}`, nil, false},
		{`{"config":{"Healthcheck":{"Test":["CMD","x"],"Retries":-1}}}`, nil, false},
		{`{"config":{"Healthcheck":{"Test":["CMD","x"],"Interval":-1}}}`, nil, false},
	} {
		got, err := parseHealthcheck([]byte(c.raw))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrCorrupt) || c.ok && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.raw, got, err)
		}
	}
}
