package explain

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A promscope that is busy is not taken for another server.
func TestRemoteIsBusy(t *testing.T) {
	busy := http.TimeoutHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-t.Context().Done() }), 1, "promscope could not answer.\n")
	s := httptest.NewServer(busy)
	defer s.Close()
	_, err := Remote{URL: s.URL}.Explain(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "503 service unavailable: it had no time for an answer: ask again") {
		t.Errorf("error %v", err)
	}
}
