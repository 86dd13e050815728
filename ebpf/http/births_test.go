package http

import (
	"testing"
	"time"
)

// TestBirths follows two series over some gatherings, ten seconds apart.
func TestBirths(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	one, two := owner{TGID: 1, Role: roleServer}, owner{TGID: 2, Role: roleServer}
	b := newBirths(at(0))
	gathering := func(began int64, want map[birth]int64) {
		t.Helper()
		b.begin()
		for series, second := range want {
			if got := b.of(series.owner, series.what).AsTime(); !got.Equal(at(second)) {
				t.Errorf("at %d s: %v counts since %s, want %d s", began, series, got, second)
			}
		}
		b.end(at(began))
	}
	gathering(10, map[birth]int64{{one, birthOfAll}: 0})
	gathering(20, map[birth]int64{{one, birthOfAll}: 0, {one, 3}: 10, {two, birthOfAll}: 10})
	gathering(30, map[birth]int64{{one, birthOfAll}: 0, {one, 3}: 10}) // the second process is gone
	gathering(40, map[birth]int64{{one, birthOfAll}: 0, {two, birthOfAll}: 30})
	b.forget([]owner{one}) // it makes room, and is there again
	gathering(50, map[birth]int64{{one, birthOfAll}: 40, {two, birthOfAll}: 30})
}
