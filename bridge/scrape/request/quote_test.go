package request

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/config"

	"github.com/promscope/promscope/bridge/scrape/job"
)

func TestQuoter(t *testing.T) {
	const body = "0123456789"
	long := strings.Repeat(body, 1000)
	plain := job.DefaultConfig(job.DefaultGlobal())
	secretive := plain
	secretive.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "hunter2"}
	parse := func(format string, args ...any) error { return &Error{"parse", fmt.Errorf(format, args...)} }
	const not = "… (not quoted, since the job has credentials)"
	quoted := `"` + strings.Repeat(body, 9) + body[:9] + "…" // 100 bytes, with the quotation mark
	for _, tc := range []struct {
		name          string
		err           error
		want, without string // of a job without and with credentials
	}{
		{"a body", parse("expected value after metric, got %q (%q)", long, "X"),
			"expected value after metric, got " + quoted, "expected value after metric, got " + not},
		{"a body without quotation marks", parse("invalid metric name: %s", long),
			"invalid metric name: " + strings.Repeat(body, 9) + body[:8] + "…", "invalid metric name" + not},
		{"a short body", parse("got %q", "x"), `got "x"`, "got " + not},
		{"a label", &Error{"label_limit", errors.New("label_limit of 3 exceeded: a has 4 labels")},
			"label_limit of 3 exceeded: a has 4 labels", "label_limit of 3 exceeded" + not},
		{"an answer that is not HTTP", &url.Error{Op: "Get", URL: "http://h/", Err: fmt.Errorf("malformed HTTP response %q", long)},
			"malformed HTTP response " + quoted, "malformed HTTP response " + not},
		{"a token server's answer", errors.New("oauth2: cannot fetch token: 401\nResponse: sesame"),
			"oauth2: cannot fetch token: 401\nResponse: sesame", "oauth2: cannot fetch token: 401" + not},
		{"a header", &Error{"content_type", errors.New(`unsupported Content-Type "text/html"`)},
			`unsupported Content-Type "text/html"`, `unsupported Content-Type "text/html"`},
		{"no quotation", errors.New("dial tcp 127.0.0.1:1: connect: connection refused"),
			"dial tcp 127.0.0.1:1: connect: connection refused", "dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		if got := NewQuoter(&plain).Error(tc.err); got != tc.want {
			t.Errorf("%s: got %s\nwant %s", tc.name, got, tc.want)
		}
		if got := NewQuoter(&secretive).Error(tc.err); got != tc.without {
			t.Errorf("%s, with credentials: got %s\nwant %s", tc.name, got, tc.without)
		}
	}
	// A character is not cut.
	if got := NewQuoter(&plain).Error(parse(`"%s`, strings.Repeat("€", 100))); got != `"`+strings.Repeat("€", 33)+"…" {
		t.Errorf("got %s", got)
	}
}
