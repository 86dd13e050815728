package http

import (
	"testing"
	"time"
)

// TestHookSets opens each hook set once, for on an emulated CPU that takes seconds, and tests with it what
// the verifier made of its programs, and what they count.
func TestHookSets(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollectorEvery(t, time.Second, Options{hookSet: hookSet})
		t.Run("programs", func(t *testing.T) { testPrograms(t, c) })
		if w := c.programs.Warnings; len(w) > 0 {
			t.Skip(w[0].Reason) // what it counts is not exact
		}
		t.Run("dialogues", func(t *testing.T) { testDialogues(t, c) })
		t.Run("servers", func(t *testing.T) { testServers(t, c) })
	})
}

// testPrograms reports what the verifier and the compiler make of the programs, and keeps an eye on
// their size: the verifier gives up after a million instructions.
func testPrograms(t *testing.T, c *Collector) {
	for name, program := range c.programs.Collection.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		size, err := info.JitedSize()
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
		verified, ok := info.VerifiedInstructions()
		if !ok {
			t.Logf("%s: the kernel does not tell the instructions verified; %d bytes of machine code", name, size)
			continue
		}
		t.Logf("%s: %d instructions verified, %d bytes of machine code", name, verified, size)
		if verified > 250_000 {
			t.Errorf("%s takes the verifier %d instructions", name, verified)
		}
	}
}
