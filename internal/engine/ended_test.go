package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// A container that ends while it is looked at has ended as its record says, and
// was not killed.
func TestEndsWhileLookedAt(t *testing.T) {
	e := testEngine(t)
	const id = "aaaaaaaaaaaaaaaa"
	leave(t, e, id, map[string]string{"containers/$ID/container.json": `{"id":"$ID","name":"short","status":"exited"}`})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- liveAndEnd(e, id, stop) }()
	defer func() {
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for range 3000 {
		c, err := e.load(id)
		if err != nil {
			t.Fatal(err)
		}
		if c.ExitCode != 0 {
			t.Fatalf("%s, exit code %d", c.Status, c.ExitCode)
		}
	}
}

// liveAndEnd is short lives, one after the other, as a monitor writes them down.
func liveAndEnd(e *Engine, id string, stop <-chan struct{}) error {
	record := filepath.Join(e.containerDir(id), recordFile)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		lock, err := e.claim(id, "")
		if err != nil {
			return err
		}
		for _, status := range []string{"running", "exited"} {
			if err := os.WriteFile(record+".new", []byte(`{"id":"`+id+`","name":"short","status":"`+status+`"}`), 0o600); err != nil {
				return err
			}
			if err := os.Rename(record+".new", record); err != nil {
				return err
			}
		}
		lock.Close()
	}
}
