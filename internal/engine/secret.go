package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/spec"

	"golang.org/x/sys/unix"
)

// A secret is one file, ROOT/secrets/NAME.json, readable by the caller only. It
// is replaced by one rename. Into a container it goes at its start, by way of
// the launcher's memory; no file of the container has it.

// maxSecret is podman's limit.
const maxSecret = 512000

// Secret is a secret, with podman's names where inspect shows it.
type Secret struct {
	ID         string
	Name       string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Labels     map[string]string
	Driver     string
	DriverOpts map[string]string
	Data       []byte `json:",omitempty"` // only where it was asked for
}

// SecretOptions are those of `secret create`.
type SecretOptions struct {
	Name    string
	Driver  string // "" or file
	Labels  map[string]string
	Replace bool
	Data    io.Reader
}

type errNoSecret string

func (e errNoSecret) Error() string   { return fmt.Sprintf("no secret is called %q", string(e)) }
func (e errNoSecret) Is(t error) bool { return t == fs.ErrNotExist }
func (e errNoSecret) Hint() string    { return "see coracle secret ls" }

func (e *Engine) secretsDir() string            { return filepath.Join(e.root, "secrets") }
func (e *Engine) secretFile(name string) string { return filepath.Join(e.secretsDir(), name+".json") }

// CreateSecret keeps what o.Data has.
func (e *Engine) CreateSecret(ctx context.Context, o SecretOptions) (Secret, error) {
	op := fmt.Sprintf("create secret %q", o.Name)
	if o.Name == "" || checkName(o.Name) != nil {
		return Secret{}, &Error{Op: op, Err: errors.New("a name starts with a letter or digit, and has up to 200 letters, digits, _ . -")}
	}
	if o.Driver != "" && o.Driver != "file" {
		return Secret{}, &Error{Op: op, Err: fmt.Errorf("there is no driver %q", o.Driver), Help: "file is the only one: leave --driver out"}
	}
	data, err := io.ReadAll(io.LimitReader(o.Data, maxSecret+1))
	if err != nil {
		return Secret{}, fmt.Errorf("%s: read it: %w", op, err)
	}
	if len(data) == 0 || len(data) > maxSecret {
		return Secret{}, &Error{Op: op, Err: fmt.Errorf("it has to have from 1 to %d bytes", maxSecret)}
	}
	if _, err := e.store(); err != nil {
		return Secret{}, err
	}
	lock, err := e.lockObject(ctx, "secret-"+o.Name)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", op, err)
	}
	defer lock.Release()
	now := time.Now().UTC()
	x := Secret{ID: secretID(), Name: o.Name, CreatedAt: now, UpdatedAt: now, Labels: o.Labels, Driver: "file", Data: data}
	if _, err := e.readSecret(o.Name); err == nil && !o.Replace {
		return Secret{}, &Error{Op: op, Err: errors.New("there is one of that name"), Help: "choose another name, or add --replace"}
	}
	if err := os.MkdirAll(e.secretsDir(), 0o700); err != nil {
		return Secret{}, e.explainVolume(op, err)
	}
	if err := writeJSON(e.secretFile(o.Name), x, true); err != nil {
		return Secret{}, e.explainVolume(op, err)
	}
	x.Data = nil
	return x, nil
}

// secretID is 25 digits, as podman's.
func secretID() string {
	var b [13]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])[:25]
}

// readSecret reads a secret with its data.
func (e *Engine) readSecret(name string) (Secret, error) {
	var x Secret
	if name == "" || checkName(name) != nil {
		return x, errNoSecret(name)
	}
	file := e.secretFile(name)
	st, err := os.Lstat(file)
	if isNotFound(err) {
		return x, errNoSecret(name)
	}
	if err != nil {
		return x, fmt.Errorf("read secret %s: %w", name, err)
	}
	if !st.Mode().IsRegular() || st.Mode()&0o077 != 0 {
		return x, &Error{Op: "read secret " + name, Err: fmt.Errorf("%s is no file that only you can read", file), Help: "make it anew: coracle secret create --replace " + name}
	}
	if err := readJSON(file, &x); err != nil {
		return x, fmt.Errorf("read secret %s: %w", name, err)
	}
	x.Name = name
	return x, nil
}

// Secrets lists the secrets, by name, without their data.
func (e *Engine) Secrets() ([]Secret, error) {
	entries, err := os.ReadDir(e.secretsDir())
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("list the secrets: %w", err)
	}
	var out []Secret
	for _, d := range entries {
		name, ok := strings.CutSuffix(d.Name(), ".json")
		if !ok {
			continue
		}
		x, err := e.readSecret(name)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			e.warn(err.Error(), "")
			continue
		}
		x.Data = nil
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Secret) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Secret finds a secret by name, id, or the unambiguous start of an id. Its
// data is told only where show says so.
func (e *Engine) Secret(name string, show bool) (Secret, error) {
	x, err := e.readSecret(name)
	if isNotFound(err) && name != "" {
		whole, ferr := e.secretName(name)
		if ferr != nil {
			return x, ferr
		}
		x, err = e.readSecret(whole)
	}
	if !show {
		x.Data = nil
	}
	return x, err
}

func (e *Engine) secretName(id string) (string, error) {
	all, err := e.Secrets()
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(x Secret) bool { return !strings.HasPrefix(x.ID, id) })
	switch len(all) {
	case 0:
		return "", errNoSecret(id)
	case 1:
		return all[0].Name, nil
	}
	return "", &Error{Op: "find secret " + id, Err: errors.New("several ids start like this"), Help: "give its name: coracle secret ls"}
}

// RemoveSecret removes a secret, and returns its id. Containers that run keep
// what they have; they do not start again without it.
func (e *Engine) RemoveSecret(ctx context.Context, name string) (string, error) {
	x, err := e.Secret(name, false)
	if err != nil {
		return "", err
	}
	lock, err := e.lockObject(ctx, "secret-"+x.Name)
	if err != nil {
		return "", fmt.Errorf("remove secret %s: %w", x.Name, err)
	}
	defer lock.Release()
	_ = unix.Unlink(e.secretFile(x.Name) + ".tmp") // of one who was killed
	err = unix.Unlink(e.secretFile(x.Name))
	if isNotFound(err) {
		return "", errNoSecret(name)
	}
	if err != nil {
		return "", e.explainVolume("remove secret "+x.Name, err)
	}
	return x.ID, nil
}

// secretData reads the secrets that a container is to have, at its start.
func (e *Engine) secretData(uses []spec.SecretUse) ([]spec.Secret, error) {
	var out []spec.Secret
	for _, u := range uses {
		x, err := e.readSecret(u.Name)
		if err != nil {
			return nil, fmt.Errorf("give the container its secret: %w", err)
		}
		if u.Env != "" && bytes.IndexByte(x.Data, 0) >= 0 {
			return nil, &Error{Op: "give the container its secret " + u.Name, Err: errors.New("it has a zero byte, which a variable cannot have"), Help: "leave out type=env: it is a file then"}
		}
		out = append(out, spec.Secret{SecretUse: u, Data: x.Data})
	}
	return out, nil
}
