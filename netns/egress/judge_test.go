package egress

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
)

// hostsIn are the hosts of the requests that net/http, as a server, finds in what a
// client sends: another reader than ours, which judges it.
func hostsIn(b []byte) (out []string) {
	r := bufio.NewReader(bytes.NewReader(b))
	for range 100 {
		req, err := http.ReadRequest(r)
		if err != nil {
			return out
		}
		if req.Header.Get("Upgrade") != "" {
			return append(out, judged(req.Host))
		}
		out = append(out, judged(req.Host))
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return out
		}
	}
	return out
}

func judged(host string) string {
	return strings.TrimSuffix(strings.ToLower(withoutPort(host)), ".")
}
