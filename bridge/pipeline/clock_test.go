package pipeline

import (
	"testing"
	"time"
)

func TestWallClock(t *testing.T) {
	wall := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var c wallClock
	for i, step := range []struct{ wall, mono, setBack time.Duration }{
		{0, 0, 0},
		{time.Second, time.Second, 0},
		{time.Second, 2 * time.Second, 0}, // slewed
		{time.Hour, time.Second, 0},       // set forward
		{-time.Hour, time.Second, time.Hour + time.Second},
		{time.Second, time.Second, 0},
	} {
		wall = wall.Add(step.wall)
		if by := c.setBack(wall, c.mono+step.mono); by != step.setBack {
			t.Errorf("step %d: set back by %s, want %s", i, by, step.setBack)
		}
	}
}
