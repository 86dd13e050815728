package explain

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks in a loop, targets are asked once an interval.
func TestTargetsAreAskedOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exposed
		began := time.Now()
		for i := range 5 {
			if problem := x.turn(t.Context(), 10*time.Second); problem != "" {
				t.Fatal(problem)
			}
			if got, want := time.Since(began), time.Duration(i)*10*time.Second; got != want {
				t.Errorf("turn %d after %s, want %s", i, got, want)
			}
		}
		time.Sleep(time.Minute)
		began = time.Now()
		if problem := x.turn(t.Context(), 10*time.Second); problem != "" || time.Since(began) != 0 {
			t.Errorf("after a minute the turn takes %s, %s", time.Since(began), problem)
		}

		// Nobody waits for long, and a question that does not wait takes nobody's turn.
		time.Sleep(4 * time.Second)
		for range 3 {
			if problem := x.turn(t.Context(), time.Minute); !strings.Contains(problem, "4s ago") || !strings.Contains(problem, "ask again in 56s") {
				t.Errorf("within an interval of a minute: %q", problem)
			}
		}
		time.Sleep(56 * time.Second)
		if problem := x.turn(t.Context(), time.Minute); problem != "" {
			t.Errorf("after a minute: %q", problem)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if problem := x.turn(ctx, 10*time.Second); problem == "" {
			t.Error("a question that has ended has its turn")
		}
	})
}
