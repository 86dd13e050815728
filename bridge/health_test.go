package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin"
)

// stand is a health whose surroundings a test makes up, in the time of a bubble.
type stand struct {
	*health
	looks  []time.Duration // since the start
	told   []string        // with the time since the start
	moved  time.Time
	socket error
}

func newStand(watchdog time.Duration) *stand {
	began := time.Now()
	s := &stand{moved: began}
	s.health = &health{
		check: func() error {
			s.looks = append(s.looks, time.Since(began))
			return s.socket
		},
		socketErr:   func() error { return s.socket },
		lastPublish: func() time.Time { return s.moved },
		notify:      func(state string) { s.told = append(s.told, time.Since(began).String()+" "+state) },
		watchdog:    watchdog,
	}
	return s
}

// Where the socket is missing, systemd's start anew helps only if the root's mount is dead,
// or promscope may not make its directory.
func TestHealthWithoutSocket(t *testing.T) {
	for cause, beats := range map[error]int{
		plugin.ErrRootGone:         0,
		unix.EROFS:                 0,
		unix.EACCES:                0,
		errors.New("a file"):       5,
		errors.New("another runs"): 5,
		errors.ErrUnsupported:      5,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(8 * time.Second)
			s.lastPublish = time.Now
			s.socket = fmt.Errorf("plugin directory: %w", cause)
			ctx, cancel := context.WithTimeout(t.Context(), 21*time.Second)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if got := len(s.told) - 2; got != beats { // besides READY and STOPPING
				t.Errorf("%v: %d beats in 21 s at a watchdog of 8 s, want %d", cause, got, beats)
			}
		})
	}
}

// The bubble's clock begins at a whole second.
func TestHealthTellsSystemd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Second)
		defer cancel()
		began := s.moved
		s.lastPublish = func() time.Time { // once more at 49 s, and never again
			if moved := began.Add(49 * time.Second); !time.Now().Before(moved) {
				return moved
			}
			return began
		}
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		// Beats every 16 s, the first even number of seconds beyond a quarter of a minute.
		// None at 34 s, when the report has stood still for more than 20 s; again from
		// 49 s on; none from 69 s on.
		want := []string{"0s READY=1", "2s WATCHDOG=1", "18s WATCHDOG=1", "50s WATCHDOG=1", "1m6s WATCHDOG=1", "2m1s STOPPING=1"}
		if diff := cmp.Diff(want, s.told); diff != "" {
			t.Errorf("what systemd hears (-want +got):\n%s", diff)
		}
	})
}

func TestHealthWithoutWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(0)
		time.Sleep(300 * time.Millisecond)
		s.socket = errors.New("another instance is running")
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second}, s.looks); diff != "" {
			t.Errorf("looks at the socket (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"300ms READY=1", "6.3s STOPPING=1"}, s.told); diff != "" {
			t.Errorf("what systemd hears (-want +got):\n%s", diff)
		}
	})
}

// A beat comes in three quarters of the time at the latest, whatever the time is.
func TestHealthBeatsInTime(t *testing.T) {
	for _, watchdog := range []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 90 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(watchdog)
			var last time.Time
			beats := 0
			s.lastPublish = time.Now
			s.notify = func(state string) {
				if !last.IsZero() && time.Since(last) > watchdog*3/4 {
					t.Errorf("%s at a watchdog of %s: %s after the one before", state, watchdog, time.Since(last))
				}
				last = time.Now()
				beats++
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*watchdog)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if beats > 45 {
				t.Errorf("%d beats in ten times the watchdog's %s", beats, watchdog)
			}
		})
	}
}

func TestHealthErr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(0)
		time.Sleep(standstill)
		if err := s.err(); err != nil {
			t.Errorf("after %s: %v", standstill, err)
		}
		time.Sleep(10 * time.Second)
		if err := s.err(); err == nil || !strings.Contains(err.Error(), "stood still for 30s") {
			t.Errorf("after 30 s: %v", err)
		}
		s.moved = time.Now()
		s.socket = errors.New("promscope.sock is in the way")
		if err := s.err(); !errors.Is(err, s.socket) {
			t.Errorf("without a socket: %v", err)
		}
		s.socket = nil
		if err := s.err(); err != nil {
			t.Errorf("with all as it should be: %v", err)
		}
	})
}
