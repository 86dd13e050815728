package request

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
		{"a discovery's status", errors.New("server returned HTTP status 503 " + long),
			"server returned HTTP status 503 " + strings.Repeat(body, 9) + body[:9] + "…", "server returned HTTP status 503" + not},
		{"a discovery's usual status", errors.New("server returned HTTP status 503 Service Unavailable"),
			"server returned HTTP status 503 Service Unavailable", "server returned HTTP status 503 Service Unavailable"},
		{"a discovery's error as text", errors.New(`Get "http://h/\"x": dial tcp: lookup h: no such host`),
			"dial tcp: lookup h: no such host", "dial tcp: lookup h: no such host"},
		{"a token server's status", errors.New("oauth2: cannot fetch token: 401 sesame\nResponse: sesame"),
			"oauth2: cannot fetch token: 401 sesame\nResponse: sesame", "oauth2: cannot fetch token: 401" + not},
		{"a token server that is not there", &url.Error{Op: "Get", URL: "http://h/", Err: &url.Error{Op: "Post", URL: "http://sso/", Err: errors.New("dial tcp: lookup sso: no such host")}},
			"asking for a token: dial tcp: lookup sso: no such host", "asking for a token: dial tcp: lookup sso: no such host"},
		{"much without a quotation", &url.Error{Op: "Get", URL: "https://h/", Err: errors.New(long)},
			strings.Repeat(body, 30) + "…", strings.Repeat(body, 30) + "…"},
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

// What a proxy answers instead of a connection may have in it what it was sent.
func TestQuoterOfProxy(t *testing.T) {
	proxyOf := func(text string) config.ProxyConfig {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return config.ProxyConfig{ProxyURL: config.URL{URL: u}}
	}
	open := proxyOf("http://proxy/")
	header := open
	header.ProxyConnectHeader = config.ProxyHeader{"X-Key": {"sesame"}}
	const not = "an error that may be the proxy's (not quoted, since the job has credentials)"
	answer := "Forbidden CONNECT h:1 HTTP/1.1 " + strings.Repeat("x", 1000)
	for name, tc := range map[string]struct {
		set  func(*config.HTTPClientConfig)
		want string
	}{
		"without credentials":    {func(c *config.HTTPClientConfig) { c.ProxyConfig = open }, answer[:100] + "…"},
		"of the environment":     {func(c *config.HTTPClientConfig) { c.ProxyFromEnvironment = true }, not},
		"with user info":         {func(c *config.HTTPClientConfig) { c.ProxyConfig = proxyOf("http://u:p@proxy/") }, not},
		"with a header":          {func(c *config.HTTPClientConfig) { c.ProxyConfig = header }, not},
		"of a token server":      {func(c *config.HTTPClientConfig) { c.OAuth2 = &config.OAuth2{ProxyConfig: open} }, not},
		"of a job with a secret": {func(c *config.HTTPClientConfig) { c.ProxyConfig, c.BasicAuth = open, &config.BasicAuth{Username: "u"} }, not},
	} {
		j := job.DefaultConfig(job.DefaultGlobal())
		tc.set(&j.HTTPClientConfig)
		q := NewQuoter(&j)
		if got := q.Error(&url.Error{Op: "Get", URL: "https://h/", Err: errors.New(answer)}); got != tc.want {
			t.Errorf("%s: got %s\nwant %s", name, got, tc.want)
		}
		token := &url.Error{Op: "Get", URL: "https://h/", Err: &url.Error{Op: "Post", URL: "https://sso/", Err: errors.New(answer)}}
		if got, want := q.Error(token), "asking for a token: "+tc.want; got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
		for _, err := range []error{
			errors.New("proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"),
			errors.New("dialing h:1: dial tcp: lookup h: no such host"), io.EOF, context.DeadlineExceeded,
			errors.New("Proxy Authentication Required"), http.ErrSchemeMismatch, &Error{"status", errors.New("server returned HTTP status 404 Not Found")},
		} {
			if got := q.Error(err); got != err.Error() {
				t.Errorf("%s: got %s\nwant %s", name, got, err)
			}
		}
	}
}
