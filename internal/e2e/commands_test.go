package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are what the scripts have beyond testscript's own:
//
//	exits CODE CMD…      run CMD, which must end with that exit code
//	image NAME…          make sure that $IMAGES/NAME is there (testdata/make/NAME made it)
//	registry [auth tls]  start Debian's docker-registry; its address is $REGISTRY. auth: only
//	                     ada, with the password secret-of-ada, is let in; tls: the authority
//	                     is certs/ca.crt
//	faults [token]       start a proxy before it that spoils what it passes on: see faulty
//	jq [-f FILE] EXPR…   each EXPR must be true of FILE, or of the last stdout
//	leftovers            nothing of ours may run, be mounted or lie about
//	pty CODE DIALOG CMD… run CMD on a terminal, holding the dialog of that file
func commands(p place, im *images, alone bool) map[string]command {
	return map[string]command{
		"exits":    exits,
		"image":    im.command,
		"registry": registry,
		"faults":   faults,
		"jq":       jq,
		"pty":      ptyCommand,
		"leftovers": func(ts *testscript.TestScript, neg bool, args []string) {
			if !alone {
				ts.Fatalf("leftovers looks at all processes: move this script to a topic that runs alone")
			}
			leftovers(ts)
		},
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	if got := exitCode(err); got != want {
		ts.Fatalf("exit code %d, want %d (%v)", got, want, err)
	}
}

// exitCode is what a shell would show, -1 for what never ran.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return -1
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

func jq(ts *testscript.TestScript, neg bool, args []string) {
	file := "stdout"
	if len(args) > 2 && args[0] == "-f" {
		file, args = args[1], args[2:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: jq [-f FILE] EXPR…")
	}
	text := ts.ReadFile(file)
	for _, expr := range args {
		cmd := exec.Command("jq", "-e", expr)
		cmd.Env = environ(ts)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("jq %q: %v: %s\nof %s", expr, err, out, text)
		}
	}
}

// images makes each image once per run, by its script in testdata/make.
type images struct {
	place place
	made  sync.Map // name -> func() error, a sync.OnceValue
}

func (im *images) command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: image NAME…")
	}
	for _, name := range args {
		once, _ := im.made.LoadOrStore(name, sync.OnceValue(func() error { return im.make(name) }))
		ts.Check(once.(func() error)())
	}
}

func (im *images) make(name string) error {
	dir, home := im.place.join("images"), im.place.join("home")
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return nil
	}
	cmd := exec.Command("bash", "-euo", "pipefail", im.place.join("make", strings.TrimSuffix(name, ".tar")))
	cmd.Dir = dir
	run := im.place.join("r", "make")
	if err := os.MkdirAll(run, 0o700); err != nil {
		return err
	}
	cmd.Env = []string{"PATH=" + im.place.path(), "HOME=" + home, "XDG_RUNTIME_DIR=" + run, "LANG=C.UTF-8",
		"BIN=" + im.place.join("bin"), "MAKE=" + im.place.join("make"), "TMPDIR=" + home, "STORAGE_DRIVER=vfs", "BUILDAH_ISOLATION=chroot"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image %s: %w\n%s", name, err, out)
	}
	return nil
}

// registry starts a registry with storage of its own, which ends with the
// script.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	l.Close()
	dir := ts.MkAbs("registry-storage-" + addr)
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %q}\n  delete: {enabled: true}\n", dir)
	scheme := "http"
	http1 := fmt.Sprintf("addr: %q", addr)
	client := &http.Client{}
	for _, what := range args {
		switch what {
		case "auth":
			const ada = "ada:$2b$05$PtW3j.ncAGYLMlSmiAdlbOkfCC8DmOblkHzGZniILU9cNJQmShM6C\n" // secret-of-ada
			ts.Check(os.WriteFile(ts.MkAbs("htpasswd"), []byte(ada), 0o600))
			config += fmt.Sprintf("auth: {htpasswd: {realm: e2e, path: %q}}\n", ts.MkAbs("htpasswd"))
		case "tls":
			scheme = "https"
			cert, key := makeCertificate(ts)
			http1 += fmt.Sprintf(", tls: {certificate: %q, key: %q}", cert, key)
			client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // asks only whether it is there
		default:
			ts.Fatalf("usage: registry [auth] [tls]")
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("registry.yml"), []byte(config+"http: {"+http1+"}\n"), 0o644))
	log, err := os.Create(ts.MkAbs("registry.log"))
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command("docker-registry", "serve", ts.MkAbs("registry.yml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if resp, err := client.Get(scheme + "://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			ts.Setenv("REGISTRY", addr)
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := os.ReadFile(ts.MkAbs("registry.log"))
	ts.Fatalf("docker-registry does not answer at %s: %s", addr, text)
}

// makeCertificate makes an authority of its own for 127.0.0.1.
func makeCertificate(ts *testscript.TestScript) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	made := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, made, made, &private.PublicKey, private)
	ts.Check(err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs("certs"), 0o755))
	cert, key = ts.MkAbs("certs/ca.crt"), ts.MkAbs("registry.key")
	ts.Check(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	ts.Check(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	return cert, key
}
