package http

import "testing"

// TestPrograms reports what the verifier and the compiler make of the programs, and keeps an eye on
// their size: the verifier gives up after a million instructions.
func TestPrograms(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		for name, program := range c.programs.Collection.Programs {
			info, err := program.Info()
			if err != nil {
				t.Fatal(err)
			}
			verified, ok := info.VerifiedInstructions()
			if !ok {
				t.Skip("this kernel does not tell")
			}
			size, err := info.JitedSize()
			if err != nil {
				t.Logf("%s: %v", name, err)
			}
			t.Logf("%s: %d instructions verified, %d bytes of machine code", name, verified, size)
			if verified > 250_000 {
				t.Errorf("%s takes the verifier %d instructions", name, verified)
			}
		}
	})
}
