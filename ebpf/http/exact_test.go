package http

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/ebpf/load"
)

// testServers sends a thousand requests in every manner to every server and expects to find each of
// them, on the server's processes and nowhere else.
func testServers(t *testing.T, c *load.Collector) {
	for _, s := range realServers() {
		t.Run(s.name, func(t *testing.T) {
			upstream := freeAddress(t)
			upstreamPID := 0
			if s.proxy {
				upstreamPID = startGo(t, upstream)
			}
			address := freeAddress(t)
			pid := s.run(t, address, upstream)
			for _, m := range modes() {
				t.Run(m.name, func(t *testing.T) {
					testExact(t, c, m, address, pid, upstreamPID)
				})
			}
		})
	}
}

func testExact(t *testing.T, c *load.Collector, m mode, address string, pid, upstream int) {
	n := scaled(1000)
	before := gather(t, c, servers)
	sent, err := m.send(address, n, 4)
	if err != nil {
		t.Fatal(err)
	}
	after := gather(t, c, servers)

	pids := family(t, pid)
	got := difference(total(after, pids), total(before, pids))
	if got.Requests != n || !cmp.Equal(got.Codes, sent) {
		t.Errorf("processes %v: %d requests, codes %v; sent %d, codes %v", pids, got.Requests, got.Codes, n, sent)
	}
	if class := [3]int{got.class('2'), got.class('4'), got.class('5')}; class != [3]int{n / 5 * 3, n / 5, n / 5} {
		// A POST to a static file is refused by some servers: then all are.
		if m.body == "" {
			t.Errorf("2xx, 4xx and 5xx: %v", class)
		}
	}
	if got.InFlight != 0 {
		t.Errorf("%d requests in flight", got.InFlight)
	}
	if own := difference(after[os.Getpid()], before[os.Getpid()]); own.Requests != 0 {
		t.Errorf("the client's process has served %d requests", own.Requests)
	}
	for other := range after {
		if other != upstream && !slices.Contains(pids, other) && after[other].Requests != before[other].Requests {
			t.Logf("process %d (%s) has served too", other, after[other].Comm)
		}
	}
	if upstream != 0 {
		if got := difference(after[upstream], before[upstream]); got.Requests != n {
			t.Errorf("upstream: %d requests", got.Requests)
		}
	}
}

// difference returns what was counted between two gathers.
func difference(after, before counts) counts {
	after.Requests -= before.Requests
	after.Open -= before.Open
	after.Pipelined -= before.Pipelined
	after.Unasked -= before.Unasked
	after.Own -= before.Own
	codes := map[string]int{}
	for code, n := range after.Codes {
		if n -= before.Codes[code]; n != 0 {
			codes[code] = n
		}
	}
	after.Codes = codes
	return after
}
