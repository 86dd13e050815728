package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowWriter is a client that takes an answer for as long as a bubble's test wants.
type slowWriter struct {
	*httptest.ResponseRecorder

	taken chan struct{}
}

func (w slowWriter) Write(p []byte) (int, error) {
	<-w.taken
	return w.ResponseRecorder.Write(p)
}

// At most a part of the CPUs works for clients, and a client that is slow to take its
// answer holds up no other.
func TestLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var working, most atomic.Int32
		h := limited(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n := working.Add(1)
			defer working.Add(-1)
			most.Store(max(most.Load(), n))
			time.Sleep(time.Second)
			fmt.Fprint(w, "answer")
		}))
		places := max(1, runtime.GOMAXPROCS(0)/2)
		serve := func(ctx context.Context, w http.ResponseWriter) {
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		}
		taken := make(chan struct{})
		for range places {
			go serve(t.Context(), slowWriter{httptest.NewRecorder(), taken})
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		w := httptest.NewRecorder()
		serve(t.Context(), w)
		if w.Body.String() != "answer" || time.Since(began) != time.Second {
			t.Errorf("beside clients that take nothing: %q after %s", w.Body, time.Since(began))
		}

		// As many again as there may be, and one too many. Those whose clients leave do
		// not take their turn.
		ctx, leave := context.WithCancel(t.Context())
		for range maxRequests - places {
			go serve(ctx, httptest.NewRecorder())
		}
		synctest.Wait()
		w = httptest.NewRecorder()
		serve(t.Context(), w)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("one request too many: status %d, want 503", w.Code)
		}
		leave()
		close(taken)
		time.Sleep(time.Second)
		began = time.Now()
		w = httptest.NewRecorder()
		serve(t.Context(), w)
		if w.Code != http.StatusOK || time.Since(began) != time.Second {
			t.Errorf("after all have left: status %d after %s", w.Code, time.Since(began))
		}
		if got := int(most.Load()); got != places {
			t.Errorf("%d requests were worked on at a time, want %d", got, places)
		}
	})
}

// What does not come to an end has one.
func TestLimitedTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := limited(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		began := time.Now()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if w.Code != http.StatusServiceUnavailable || time.Since(began) != maxWork {
			t.Errorf("status %d after %s, want 503 after %s", w.Code, time.Since(began), maxWork)
		}
	})
}
