package netns

import (
	"strings"
	"testing"
)

func TestParsePorts(t *testing.T) {
	for _, c := range []struct{ words, want, err string }{
		{"8080:80", "0.0.0.0:8080->80/tcp", ""},
		{"80", "0.0.0.0:0->80/tcp", ""},
		{":80", "0.0.0.0:0->80/tcp", ""},
		{"127.0.0.1:8080:80", "127.0.0.1:8080->80/tcp", ""},
		{"127.0.0.1::80/udp", "127.0.0.1:0->80/udp", ""},
		{"[::1]:8080:80", "[::1]:8080->80/tcp", ""},
		{"::1:8080:80", "[::1]:8080->80/tcp", ""},
		{"8000-8002:80-82/udp", "0.0.0.0:8000->80/udp 0.0.0.0:8001->81/udp 0.0.0.0:8002->82/udp", ""},
		{"80-81", "0.0.0.0:0->80/tcp 0.0.0.0:0->81/tcp", ""},
		{"1:1 1:1/udp", "0.0.0.0:1->1/tcp 0.0.0.0:1->1/udp", ""},
		{"127.0.0.1:1:1 127.0.0.2:1:1", "127.0.0.1:1->1/tcp 127.0.0.2:1->1/tcp", ""},
		{"65535:65535", "0.0.0.0:65535->65535/tcp", ""},
		{"0:80", "0.0.0.0:0->80/tcp", ""},
		{"1:1 127.0.0.1:1:2", "", "published twice"},
		{"0.0.0.0:1:1 127.0.0.1:1:2", "", "published twice"},
		{"[::1]:1:1 [::]:1:2", "", "published twice"},
		{"0.0.0.0:1:1 [::]:1:2", "0.0.0.0:1->1/tcp [::]:1->2/tcp", ""},
		{"8000-8002:80-81", "", "the ranges have 3 and 2 ports"},
		{"8002-8000:80-82", "", `"8002-8000" is not a port of the host`},
		{"65536:80", "", `"65536" is not a port of the host`},
		{"80:0", "", `"0" is not a port of the container`},
		{"80:", "", `"" is not a port of the container`},
		{"", "", `"" is not a port of the container`},
		{"host:80:80", "", `"host" is not an IP address`},
		{"fe80::1%eth0:80:80", "", "is not an IP address"},
		{"80/sctp", "", "SCTP is not carried"},
		{"80/tpc", "", `"tpc" is not a protocol`},
		{"80/", "", "the protocol is missing"},
		{"-1:80", "", "is not a port of the host"},
		{"0-3:80-83", "", "is not a port of the host"},
	} {
		got, err := ParsePorts(strings.Split(c.words, " "))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.words, err, c.err)
			}
			continue
		}
		var words []string
		for _, p := range got {
			words = append(words, p.String())
		}
		if text := strings.Join(words, " "); err != nil || text != c.want {
			t.Errorf("%q: %q, %v, want %q", c.words, text, err, c.want)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"8080:80", "[::1]:1-3:5-7/udp", "::", "1:2:3:4", "0-65535:0-65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePorts([]string{s})
		if err == nil && len(ports) == 0 {
			t.Error("neither a port nor an error")
		}
		for _, p := range ports {
			if p.Container == 0 || p.Protocol != "tcp" && p.Protocol != "udp" {
				t.Errorf("%+v", p)
			}
		}
	})
}
