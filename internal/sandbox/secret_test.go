package sandbox

import (
	"testing"

	"coracle/internal/denial"
)

func TestSecretive(t *testing.T) {
	for name, want := range map[string]bool{
		"/home/u/api_token": true, "/srv/.env": true, "/p/.env.local": true, "/p/server.key": true, "/p/key.pem": true, "/tmp/krb5cc_1000": true, "/p/Cookies": true, "/p/app.env": true,
		"/lib/certifi/cacert.pem": false, "/p/main.go": false, "/etc/passwd": false, "/p/keyboard": false, "/p/environment": false, "/secret/plain": false,
	} {
		if got := Secretive(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRootsOwn(t *testing.T) {
	f := facts()
	f.UID = 0
	h := newFake("/etc/shadow=file")
	pl, err := New(Options{Command: []string{"true"}}, f, h)
	if err != nil {
		t.Fatal(err)
	}
	d, refused := pl.Judge(denial.Access{Action: denial.Read, Path: "/etc/shadow", Exists: true, Parent: true}, judging{h})
	if !refused || d.Wall != "credentials" || d.Danger == "" {
		t.Errorf("%+v", d)
	}
	pl.Cwd = "/"
	if got := proposed(Lesson{Plan: &pl, Denials: []denial.Denial{d}}); got[0] != "# ro /etc/shadow" {
		t.Errorf("%q", got)
	}
}
