package userns

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// WithMap makes a user namespace that has nothing but the map, for an
// idmapped mount. It lives as long as the file or its users.
func WithMap(ctx context.Context, m Map) (*os.File, error) {
	c, err := Start(&Program{}, unix.CLONE_NEWUSER) // it waits for a Release that never comes
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	defer c.Abort()
	if err := WriteMap(ctx, c.PID, m); err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", c.PID))
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	return f, nil
}
