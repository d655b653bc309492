package spec

import (
	"os"
	"testing"
)

// TestMain is the carrier where a container under test asks for one: it runs
// this program again.
func TestMain(m *testing.M) {
	if os.Args[0] == CarrierName {
		os.Exit(CarrierMain(os.Args[1:]))
	}
	if err := lackFromEnv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
