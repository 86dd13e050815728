package web

import (
	"net/http"
	"runtime"
	"time"
)

// What clients may take. Polls of the plugin's socket share the CPUs with them. On two
// CPUs the median poll beside 50 clients that ask in a loop takes 1.6 ms for pages, 0.9 ms
// for /metrics and 1.8 ms for long queries; where all of them were worked on at once, it
// took 21, 36 and 13 ms (BenchmarkPollBesideBadClients).
const (
	maxConnections = 128

	// maxRequests is how many answers there may be at a time, with those that wait for
	// their turn and those that clients are slow to take.
	maxRequests = 64

	// maxWork is until when an answer has to be ready. A query has 10 s, an explanation
	// asks targets, and others may be before them.
	maxWork = 30 * time.Second
)

// limited works on few requests at a time, and on none while its client takes the
// answer. Others wait, and are refused beyond maxRequests.
func limited(next http.Handler) http.Handler { return atMost(maxRequests, buffered(inTurn(next))) }

// buffered gives the answer away when it is ready.
func buffered(next http.Handler) http.Handler {
	return http.TimeoutHandler(next, maxWork, "promscope could not answer within "+maxWork.String()+".\n")
}

// inTurn leaves at least one CPU to others, if there is another.
func inTurn(next http.Handler) http.Handler {
	places := make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done(): // nobody waits for it any more
		}
	})
}

func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "promscope has too many requests to answer at a time.", http.StatusServiceUnavailable)
		}
	})
}
