package denial

import (
	"os"
	"path/filepath"
	"testing"
)

func TestListed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	text := "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   1: 0100007F:0050 0100007F:1F91 01 00000000:00000000\n" +
		"0000: 00000002 00000000 00010000 0001 01 123 @one\n\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]bool{8080: true, 80: false, 8081: false, 0x90: false} {
		if got := listed(name, listening(port)); got != want {
			t.Errorf("port %d: %v", port, got)
		}
	}
	for socket, want := range map[string]bool{"@one": true, "@on": false, "one": false} {
		if got := listed(name, abstract(socket)); got != want {
			t.Errorf("%s: %v", socket, got)
		}
	}
	if listed(name+"2", listening(8080)) {
		t.Error("a file that is not there has a line")
	}
}
