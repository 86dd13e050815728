package pipeline

import (
	"time"

	"github.com/promscope/promscope/bridge/scrape"
)

// wallClock notices when the wall clock is set back. That it is set forward does no
// harm: it looks as if nothing had arrived for a while.
type wallClock struct {
	seen bool
	wall time.Time
	mono time.Duration
}

// setBack reports by how much the wall clock was set back since the last call, if
// that is noteworthy, and 0 otherwise. mono is the reading of a clock that always
// goes on.
func (c *wallClock) setBack(wall time.Time, mono time.Duration) time.Duration {
	by := (mono - c.mono) - wall.Sub(c.wall)
	if !c.seen || by <= scrape.SetBackBy {
		by = 0
	}
	*c = wallClock{seen: true, wall: wall, mono: mono}
	return by
}
