package request

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/scrape/job"
)

// What comes before the body is bounded, in one answer or in several.
func TestHeaderIsBounded(t *testing.T) {
	lines := strings.Repeat("X: "+strings.Repeat("x", 995)+"\r\n", 200) // 200 kB
	body := "Content-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n"
	for name, tc := range map[string]struct {
		answer string
		want   string // the reason
	}{
		"one":          {"HTTP/1.1 200 OK\r\n" + lines + body, ""},
		"too large":    {"HTTP/1.1 200 OK\r\n" + lines + lines + body, "header_size_limit"},
		"early hints":  {"HTTP/1.1 103 Early Hints\r\n" + lines + "\r\nHTTP/1.1 200 OK\r\n" + lines + body, "header_size_limit"},
		"no header":    {strings.Repeat("x", 1<<20), "header_size_limit"},
		"a redirect":   {"HTTP/1.1 302 Found\r\nLocation: /again\r\n" + lines + body, "header_size_limit"},
		"a large body": {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + strings.Repeat("a 1\n", 1<<18), ""},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveRaw(t, func(*http.Request) string { return tc.answer })
			body, err := ask(t, targetOf(t, model.LabelSet{"__address__": model.LabelValue(address)}, nil), Options{})
			if Reason(err) != tc.want || (err == nil) != (tc.want == "") || err == nil && !strings.HasSuffix(body, "a 1\n") {
				t.Errorf("got %v after %d bytes, want %q", err, len(body), tc.want)
			}
		})
	}
}

// Each request has a budget of its own, and a body has none, also where the connection
// is kept.
func TestHeaderBudgetIsOfOneRequest(t *testing.T) {
	large := strings.Repeat("a 1\n", maxHeader)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X", strings.Repeat("x", maxHeader/2))
		_, _ = io.WriteString(w, large)
	}))
	defer s.Close()
	var dialed int
	client, err := New(targetOf(t, model.LabelSet{"__address__": model.LabelValue(s.Listener.Addr().String())}, func(j *job.Config) {
		j.BodySizeLimit = 0
	}), Options{Dial: func(ctx context.Context, network, address string, own bool) (net.Conn, error) {
		dialed++
		return dialPlainly(ctx, network, address, own)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 4 {
		resp, err := client.Do(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != large {
			t.Fatalf("%v after %d bytes", err, len(body))
		}
		resp.Body.Close()
	}
	if dialed != 1 {
		t.Errorf("dialed %d times", dialed)
	}
}

// What breaks off while it is unpacked is no wrong encoding.
func TestUnpackingOfBrokenBody(t *testing.T) {
	broken := errors.New("broken off")
	packed := zipped(strings.Repeat(sample, 1000))
	for _, n := range []int{0, 5, 10, len(packed) / 2, len(packed) - 4} {
		for want, rest := range map[error]io.Reader{broken: &failing{broken}, io.ErrUnexpectedEOF: strings.NewReader("")} {
			c, err := New(targetOf(t, model.LabelSet{"__address__": "h:1"}, nil), Options{})
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.Read(&http.Response{
				StatusCode: http.StatusOK, Body: io.NopCloser(io.MultiReader(strings.NewReader(packed[:n]), rest)),
				Header: http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"}},
			})
			if err == nil {
				_, err = io.Copy(io.Discard, a.Body)
			}
			if !errors.Is(err, want) || Reason(err) != "" {
				t.Errorf("after %d bytes: got %v, want %v", n, err, want)
			}
		}
	}
}
