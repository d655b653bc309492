package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"coracle/images/layer"
)

func TestExplainWrite(t *testing.T) {
	at := func(path string, e error) error {
		return fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: path, Err: e})
	}
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		for _, ours := range []error{
			at("/store", e), at("/store/x", e), &os.LinkError{Op: "rename", Old: "/store/a", New: "/store/b", Err: e},
			fmt.Errorf("x: %w", errors.Join(layer.ErrRefused, e)),
		} {
			if err := explainWrite(ours, "/store"); !errors.Is(err, e) || !strings.Contains(hintOf(err), "/store") {
				t.Errorf("%v, hint %q", err, hintOf(err))
			}
		}
		// What has the same number and is something else: user namespaces, a
		// firewall, a source that may not be read.
		for _, other := range []error{
			fmt.Errorf("create namespaces: %w", e), at("/store2/x", e), at("/proc/7/uid_map", e),
			&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", e)},
		} {
			if err := explainWrite(other, "/store"); hintOf(err) != "" {
				t.Errorf("%v, hint %q", err, hintOf(err))
			}
		}
	}
	had := fail(nil, "x").because(at("/store/x", syscall.EPERM)).hint("y")
	if err := explainWrite(had, "/store"); hintOf(err) != "y" {
		t.Errorf("hint %q", hintOf(err))
	}
}

// refusing is a stage that cannot be started.
type refusing struct {
	layer.Stage
	err error
}

func (r *refusing) Unpack(context.Context, layer.Request) (layer.Result, error) {
	return layer.Result{}, fmt.Errorf("start the store process: %w", r.err)
}

func (r *refusing) Remove(context.Context, string) error { return r.err }

// A stage that cannot be started says why by itself.
func TestStageThatDoesNotStart(t *testing.T) {
	for _, e := range []error{syscall.EPERM, syscall.ENOSPC} {
		s := newStore(t)
		st := &refusing{err: e}
		_, err := s.Pull(t.Context(), "oci:"+make3(t, nil).layout(t), PullOptions{Class: class, Stage: func() (layer.Stage, error) { return st, nil }})
		if !errors.Is(err, e) || hintOf(err) != "" || !strings.Contains(err.Error(), "start the store process") {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
	}
}
