package http

import (
	"math"
	"time"
)

// The layout of what the BPF programs write: connection.h. Sizes are compared with those of the
// object's maps when it is loaded.

const (
	bucketBounds = 41
	boundsTable  = 64 // a power of two, for the binary search
	codeColumns  = 24
	codesTable   = 512
	firstCode    = 100

	roleServer = 1
	roleClient = 2
)

// owner names a process in one of its roles.
type owner struct {
	TGID      uint32
	Role      uint32
	StartTime uint64 // monotonic clock, nanoseconds
}

// process has the counters of an owner.
type process struct {
	Last       uint64 // when a response was counted last: monotonic clock, nanoseconds
	Started    uint64
	Sum        uint64 // nanoseconds
	Buckets    [bucketBounds + 1]uint64
	Codes      [codeColumns]uint64
	Pipelined  uint64
	Unasked    uint64
	Own        uint64 // requests by promscope, or caused by it
	Unanswered uint64
	Withdrawn  uint64
	Exited     uint64 // monotonic clock, nanoseconds; 0 while it lives
	_          [2]uint64
	Comm       [16]byte
}

// rareCode is a key of the map of codes that have no column.
type rareCode struct {
	Owner owner
	Code  uint64
}

// bounds returns the upper bounds of the histogram's buckets, ascending.
//
// They lie halfway between the round numbers of a scale of ten a decade (ISO 3: R20/2 from 1.12
// on), so that a service whose latency is a round number is in the middle of a bucket, and a
// quantile interpolated in it is off by 3 %, and by 12 % at most. Below 0.9 ms and above 0.9 s
// every second bound is left out.
func bounds() [bucketBounds]time.Duration {
	steps := [...]float64{1.12, 1.4, 1.8, 2.24, 2.8, 3.55, 4.5, 5.6, 7.1, 9}
	out := [bucketBounds]time.Duration{90 * time.Microsecond}
	n := 1
	for _, decade := range []time.Duration{100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		coarse := decade == 100*time.Microsecond || decade == time.Second
		for i, step := range steps {
			if coarse && i%2 == 0 {
				continue
			}
			// Rounded, so that 1.12 is 1.12 ms and not a nanosecond less.
			out[n] = time.Duration(math.Round(step * float64(decade)))
			n++
		}
	}
	return out
}

// columnCodes returns the status codes that are counted in place, the first in column 1.
func columnCodes() [codeColumns - 1]int {
	return [...]int{
		200, 304, 404, 302, // what is common shares a cache line
		101, 201, 202, 204, 206, 301, 303, 307, 308,
		400, 401, 403, 405, 409, 429, 500, 502, 503, 504,
	}
}
