package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// faulty is a proxy before the registry at $REGISTRY that spoils something on the way. What,
// says the first word of the repository: of HOST/stall/v/app it is v/app, whose layer stalls. What
// it has seen and done is in a log, by which a script knows that it was done at all.
type faulty struct {
	to     string // the registry's address
	host   string // its own
	tokens bool   // nothing is served without one
	log    *os.File

	mu     sync.Mutex
	seen   map[string]int       // requests of that kind, by fault
	first  map[string]time.Time // when the first of them came
	given  int                  // tokens
	oldest int                  // of those that are still good
}

// large is what a layer has at least, and a configuration or a payload never.
const large = 64 << 10

// faults starts the proxy: its address is $FAULTS, or with the word token $TOKENS.
func faults(ts *testscript.TestScript, neg bool, args []string) {
	name := "FAULTS"
	if len(args) == 1 && args[0] == "token" {
		name = "TOKENS"
	} else if neg || len(args) > 0 {
		ts.Fatalf("usage: faults [token]")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	f := &faulty{to: ts.Getenv("REGISTRY"), host: l.Addr().String(), tokens: name == "TOKENS", seen: map[string]int{}, first: map[string]time.Time{}, oldest: 1}
	f.log, err = os.OpenFile(ts.MkAbs("faults.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	s := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	ts.Defer(func() {
		_ = s.Close()
		_ = f.log.Close()
	})
	ts.Setenv(name, f.host)
}

// request is one on its way through the proxy.
type request struct {
	*http.Request
	fault, kind string
	n           int // of this kind, from 1
	early       bool
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/token":
		f.mu.Lock()
		f.given++
		fmt.Fprintf(w, `{"token":"t%d"}`, f.given)
		f.mu.Unlock()
		return
	case strings.HasPrefix(r.URL.Path, "/elsewhere/"):
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "credentials came along", http.StatusTeapot)
			return
		}
		f.forward(w, &request{Request: r, fault: "elsewhere"}, "/v2/"+strings.TrimPrefix(r.URL.Path, "/elsewhere/"))
		return
	}
	fault, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	q := &request{Request: r, fault: fault, kind: kindOf(r)}
	f.count(q)
	if f.tokens && !f.good(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+f.host+`/token",service="e2e"`)
		w.WriteHeader(http.StatusUnauthorized)
		f.note(q, "401")
		return
	}
	if f.before(w, q, rest) {
		return
	}
	f.forward(w, q, "/v2/"+rest)
}

// kindOf is manifest, blob, body of a layer that is sent, or the method of what else is asked.
func kindOf(r *http.Request) string {
	switch {
	case strings.Contains(r.URL.Path, "/uploads/") && r.ContentLength > large:
		return "body"
	case strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet:
		return "blob"
	case strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet:
		return "manifest"
	}
	return r.Method
}

func (f *faulty) count(q *request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := q.fault + " " + q.kind
	f.seen[key]++
	if q.n = f.seen[key]; q.n == 1 {
		f.first[key] = time.Now()
	}
	q.early = time.Since(f.first[key]) < time.Second
}

func (f *faulty) good(r *http.Request) bool {
	var n int
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer t%d", &n)
	f.mu.Lock()
	defer f.mu.Unlock()
	return err == nil && n >= f.oldest
}

func (f *faulty) note(q *request, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintln(f.log, strings.TrimSpace(q.fault+" "+q.kind+" "+what+" "+q.Header.Get("Range")))
}

// before does what needs no answer of the registry, and says whether it did.
func (f *faulty) before(w http.ResponseWriter, q *request, rest string) bool {
	refuse := func(code int, after string) bool {
		f.note(q, strconv.Itoa(code))
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
		return true
	}
	redirect := func(to string) bool {
		f.note(q, "redirect")
		http.Redirect(w, q.Request, to, http.StatusTemporaryRedirect)
		return true
	}
	switch q.fault + " " + q.kind {
	case "busy manifest", "busy blob", "busy body", "busy PUT":
		return q.n == 1 && refuse(http.StatusBadGateway, "")
	case "down manifest":
		return refuse(http.StatusInternalServerError, "")
	case "limit manifest", "limit body":
		if q.early && q.n > 1 {
			f.note(q, "too early")
		}
		return q.n == 1 && refuse(http.StatusTooManyRequests, "1")
	case "limited manifest":
		return refuse(http.StatusTooManyRequests, "0")
	case "redirect blob":
		_, port, _ := net.SplitHostPort(f.host)
		return redirect("http://localhost:" + port + "/elsewhere/" + rest)
	case "loop blob":
		return redirect(q.URL.Path)
	case "plain blob":
		return redirect("http://192.0.2.1/" + rest) // an address of documentation: nobody is there
	case "silent manifest":
		if q.n > 1 {
			return false
		}
		f.note(q, "silent")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
		return true
	case "unasked manifest":
		f.note(q, "unasked")
		unasked(w)
		return true
	case "denied blob":
		return refuse(http.StatusUnauthorized, "")
	case "large body":
		return q.Method == http.MethodPut && refuse(http.StatusRequestEntityTooLarge, "")
	case "reset body", "expire body":
		if q.n > 1 {
			return false
		}
		f.note(q, "cut")
		_, _ = io.CopyN(io.Discard, q.Body, large/2)
		f.expire(q)
		reset(w)
		return true
	}
	return false
}

// expire makes all tokens worthless.
func (f *faulty) expire(q *request) {
	if q.fault != "expire" {
		return
	}
	f.mu.Lock()
	f.oldest = f.given + 1
	f.mu.Unlock()
}

// reset ends the connection as a machine does that has lost it.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// unasked sends more than was asked for, after an answer that is no manifest.
func unasked(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}unasked")
	time.Sleep(100 * time.Millisecond)
	conn.Close()
}

// forward asks the registry, and passes its answer on, or a part of it, or another.
func (f *faulty) forward(w http.ResponseWriter, q *request, path string) {
	out := q.Clone(q.Context())
	out.URL.Scheme, out.URL.Host, out.URL.Path, out.RequestURI = "http", f.to, path, ""
	out.Header.Del("Authorization")
	if q.fault == "noranges" {
		out.Header.Del("Range")
	}
	if (q.fault == "otherrange" || q.fault == "lyingrange") && q.Header.Get("Range") != "" {
		out.Header.Set("Range", "bytes=7-")
	}
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "" {
		_, to, _ = strings.Cut(to, "/v2/")
		resp.Header.Set("Location", "http://"+f.host+"/v2/"+q.fault+"/"+to)
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	if was := resp.Header.Get("Content-Range"); was != "" && q.fault == "lyingrange" {
		// As if it were what was asked for.
		_, tail, _ := strings.Cut(was, "-")
		w.Header().Set("Content-Range", strings.Replace(q.Header.Get("Range"), "=", " ", 1)+tail)
	}
	if q.kind == "manifest" && q.fault == "other" {
		f.note(q, "other")
		body, _ := io.ReadAll(resp.Body)
		w.Header().Del("Content-Length")
		_, _ = w.Write(append(body, '\n'))
		return
	}
	if q.kind != "blob" || resp.ContentLength < large {
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
		return
	}
	f.layer(w, q, resp)
}

// layer passes a layer on, in the way that its fault has.
func (f *faulty) layer(w http.ResponseWriter, q *request, resp *http.Response) {
	q.kind = "layer"
	f.count(q) // the configuration is a blob, too
	half := resp.ContentLength / 2
	head := func(size int64) {
		w.Header().Del("Content-Length")
		if size >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		w.WriteHeader(resp.StatusCode)
	}
	part := func() {
		_, _ = io.CopyN(w, resp.Body, half)
		_ = http.NewResponseController(w).Flush()
	}
	what := q.fault
	switch { // that only the first time, or where it is not the rest that is asked for
	case what == "off", q.n == 1, what == "short", what == "long", what == "flip":
	default:
		what = ""
	}
	f.note(q, strconv.Itoa(q.n))
	switch what {
	case "stall":
		head(resp.ContentLength)
		part()
		<-q.Context().Done()
	case "reset", "expire", "noranges", "otherrange", "lyingrange":
		head(resp.ContentLength)
		part()
		f.expire(q)
		reset(w)
	case "truncate":
		head(resp.ContentLength)
		part()
		panic(http.ErrAbortHandler)
	case "ends": // as if that were all, with no length given
		head(-1)
		part()
	case "short":
		head(half)
		part()
	case "long":
		head(-1)
		_, _ = io.Copy(w, resp.Body)
		_, _ = w.Write([]byte("more"))
	case "flip":
		head(resp.ContentLength)
		part()
		b := make([]byte, 1)
		_, _ = io.ReadFull(resp.Body, b)
		_, _ = w.Write([]byte{^b[0]})
		_, _ = io.Copy(w, resp.Body)
	case "off": // for good
		head(resp.ContentLength)
		if q.n == 1 {
			part()
		}
		reset(w)
	default:
		head(resp.ContentLength)
		_, _ = io.Copy(w, resp.Body)
	}
}
