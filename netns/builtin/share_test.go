package builtin

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestShare sends by several connections at once, until the second goroutine has had
// its part, and looks for each byte.
func TestShare(t *testing.T) {
	c := start(t, "")
	const streams = 8
	block := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{6}).Read(block)
	got := make(chan int, streams) // blocks of a connection; -1: something else
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		defer s.Close()
		b := make([]byte, len(block))
		for n := 0; ; n++ {
			switch _, err := io.ReadFull(s, b); {
			case err == io.EOF:
				got <- n
				return
			case err != nil || !bytes.Equal(b, block):
				got <- -1
				return
			}
		}
	})
	share := &c.n.link.direct.share
	began := time.Now()
	sent := make([]int, streams)
	var all sync.WaitGroup
	for i := range streams {
		s := c.mustDial("tcp", at).(*net.TCPConn)
		all.Go(func() {
			defer s.Close()
			for sent[i] < 4 || share.helped.Load() < 2 && time.Since(began) < 20*time.Second {
				if _, err := s.Write(block); err != nil {
					t.Error(err)
					return
				}
				sent[i]++
			}
		})
	}
	all.Wait()
	var read []int
	for range streams {
		read = append(read, <-got)
	}
	slices.Sort(read)
	slices.Sort(sent)
	if !slices.Equal(read, sent) {
		t.Errorf("%v blocks came of %v", read, sent)
	}
	if n := share.helped.Load(); n < 2 {
		t.Errorf("the second goroutine had a part %d times", n)
	}
}
