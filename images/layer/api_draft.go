package layer

import (
	"context"
	"encoding/json"
	"os"
)

// Handler answers one kind of message that another package adds to the stage.
// It runs inside the stage; what it returns is sent back as JSON.
type Handler func(ctx context.Context, in json.RawMessage) (any, error)

// StageName is what ps shows for the stage, and how main finds StoreMain.
const StageName = "[coracle:store]"

// NewClient speaks to a stage over its socket (see StoreMain), which it takes
// over. Start must be called first, once the id maps are written.
func NewClient(conn *os.File) *Client { return &Client{} }

// Client is the launcher's side of a stage.
type Client struct{ Stage }

// Start tells the stage that its id maps have been written and which directory
// is the store's root: the stage becomes uid and gid 0 of its namespace and
// chroots there. It returns once the stage is ready. root is not closed.
func (c *Client) Start(ctx context.Context, root *os.File) error { return nil }

// Call sends a message to a handler that was given to StoreMain. out may be nil.
func (c *Client) Call(ctx context.Context, op string, in, out any) error { return nil }

// StoreMain is the stage process: fd 3 is a unix SOCK_SEQPACKET socket.
func StoreMain(extra map[string]Handler) int { return 1 }
