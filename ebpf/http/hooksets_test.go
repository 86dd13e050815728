package http

import (
	"testing"
	"time"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestHookSets opens each hook set once, for on an emulated CPU that takes seconds, and tests with it what
// the verifier made of its programs, and what they count.
func TestHookSets(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollectorEvery(t, time.Second, Options{hookSet: hookSet})
		t.Run("programs", func(t *testing.T) { loadtest.Verified(t, c, 250_000) })
		if w := c.Programs.Warnings; len(w) > 0 {
			t.Skip(w[0].Reason) // what it counts is not exact
		}
		t.Run("dialogues", func(t *testing.T) { testDialogues(t, c) })
		t.Run("servers", func(t *testing.T) { testServers(t, c) })
	})
}
