package http

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// ends are the two sides of a connection, client's and server's.
type ends struct{ near, far net.Conn }

func connected(t testing.TB) ends {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near := dial(t, listener.Addr().String())
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return ends{near, far}
}

// TestOwedBefore starts the collector when requests have been sent whose answers are to come: those
// answers do not count, on either side, and what follows them does, in its own time.
func TestOwedBefore(t *testing.T) {
	const (
		put     = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
		goOn    = "HTTP/1.1 100 Continue\r\n\r\n"
		long    = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nthe first "
		upgrade = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
	)
	tests := []struct {
		name          string
		before, after []step
		want          int // requests that count, of these and three that follow
	}{
		{name: "idle", before: []step{client(get), answer(ok)}, want: 3},
		{name: "an answer", before: []step{client(get)}, after: []step{answer(ok)}, want: 3},
		{name: "two answers", before: []step{client(get + get)}, after: []step{answer(ok), answer(ok)}, want: 3},
		{name: "two answers, the second in parts", before: []step{client(get + get)}, after: []step{answer(ok), answer("HTTP"), answer("/1.1 404 x\r\n\r\n")}, want: 3},
		{name: "two answers in one vector", before: []step{client(get + get)}, after: []step{answer("HTTP/1.1 304 x\r\n\r\n", ok)}, want: 3},
		{name: "continue", before: []step{client(put)}, after: []step{answer(goOn), client("some body"), answer(ok)}, want: 3},
		{name: "continue and final at once", before: []step{client(put)}, after: []step{answer(goOn + ok)}, want: 3},
		{name: "within a request's body", before: []step{client(put), answer(goOn), client("so")}, after: []step{client("me "), client("body"), answer(ok)}, want: 3},
		{name: "within a response's body", before: []step{client(get), answer(long)}, after: []step{answer("the second"), answer("the third ")}, want: 3},
		{name: "within a response's body, then a request in parts", before: []step{client(get), answer(long)}, after: []step{
			answer("the second"), answer("the third "), client("GE"), client("T / HTTP/1.1\r\n\r\n"), answer(ok),
		}, want: 4},
		{name: "upgrade", before: []step{client(get)}, after: []step{answer(upgrade), client(get), answer(ok)}},
		{name: "upgrade, as the second answer", before: []step{client(get + get)}, after: []step{answer(ok), answer(upgrade), client(get), answer(ok)}},
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		for _, clients := range []bool{false, true} {
			t.Run(fmt.Sprintf("clients=%t", clients), func(t *testing.T) {
				var open []ends
				for _, tt := range tests {
					e := connected(t)
					follow(t, e.near, e.far, tt.before)
					open = append(open, e)
				}
				c := newCollector(t, Options{hookSet: hookSet, Clients: clients})
				sides := []string{servers}
				if clients {
					sides = append(sides, asClients)
				}
				play(t, "127.0.0.1:0", nil, []step{client(get), answer(ok)}) // a process without a response has no series
				for i, tt := range tests {
					t.Run(tt.name, func(t *testing.T) {
						before := map[string]counts{}
						for _, side := range sides {
							before[side] = gather(t, c, side)[os.Getpid()]
						}
						began := time.Now()
						follow(t, open[i].near, open[i].far, tt.after)
						for range 3 {
							follow(t, open[i].near, open[i].far, []step{client(get), answer(ok)})
						}
						took := time.Since(began).Seconds()
						for _, side := range sides {
							all := gather(t, c, side)[os.Getpid()]
							got := difference(all, before[side])
							if got.Requests != tt.want || got.Codes["200"] != tt.want || got.Pipelined != 0 || got.InFlight != 0 {
								t.Errorf("%s: %d requests %v, %d pipelined, %d in flight; want %d, 0, 0",
									side, got.Requests, got.Codes, got.Pipelined, got.InFlight, tt.want)
							}
							if sum := all.Latency.GetSampleSum() - before[side].Latency.GetSampleSum(); sum > took*float64(tt.want) {
								t.Errorf("%s: %.3f s added to the latencies within %.3f s", side, sum, took)
							}
						}
					})
				}
			})
		}
	})
}
