package request

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

const sample = "# TYPE a gauge\na{x=\"y\"} 1\n"

// targetOf returns a target of a job, which may say something of its own.
func targetOf(t *testing.T, labels model.LabelSet, set func(*job.Config)) *job.Target {
	t.Helper()
	j := job.DefaultConfig(job.DefaultGlobal())
	j.JobName = "j"
	if set != nil {
		set(&j)
	}
	if err := j.Validate(); err != nil {
		t.Fatal(err)
	}
	targets, dropped := job.TargetsOf(&j, &targetgroup.Group{Targets: []model.LabelSet{labels}})
	if len(targets) != 1 {
		t.Fatalf("dropped: %+v", dropped)
	}
	return targets[0]
}

func dialPlainly(ctx context.Context, network, address string, _ bool) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// ask asks once, and returns the body, or the error, told as to people.
func ask(t *testing.T, target *job.Target, opts Options) (body string, err error) {
	t.Helper()
	if opts.Dial == nil {
		opts.Dial = dialPlainly
	}
	c, err := New(target, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.Do(t.Context(), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	a, err := c.Read(resp)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(a.Body)
	return string(content), err
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// What an answer is, is decided by its header and its body alike for all who ask.
func TestAnswers(t *testing.T) {
	const html = "<html><body>metrics</body></html>\n"
	found := model.LabelSet{job.LabelListenerNetNS: "1"}
	fallback := func(j *job.Config) { j.ScrapeFallbackProtocol = exposition.PrometheusText0_0_4 }
	for _, tc := range []struct {
		name, contentType, encoding, body string
		labels                            model.LabelSet
		set                               func(*job.Config)
		want                              string // the reason why it is not read, or "parse" if the judge says so
	}{
		{"text format", "text/plain; version=0.0.4", "", sample, nil, nil, ""},
		{"no version", "text/plain", "", sample, nil, nil, ""},
		{"OpenMetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", "",
			"# TYPE a counter\na_total 1 # {t=\"x\"} 1\n# EOF\n", nil, nil, ""},
		{"odd but legal", "text/plain", "", "\n# a comment\na{b=\"c\"}\t+Inf 123\n{\"a.b\",c=\"}\"} NaN\n", nil, nil, ""},
		{"a newline in quotes", "text/plain", "", "a{b=\"c\nd\"} 1\n", nil, nil, ""},
		{"no newline at the end", "text/plain", "", "metric 1", nil, nil, ""},
		{"no sample, of an exporter", "text/plain; version=0.0.4", "", "", nil, nil, ""},
		{"no sample yet", "text/plain", "", "# TYPE a gauge\n", nil, nil, ""},
		{"nothing", "text/plain", "", "", nil, nil, "parse"},
		{"comments alone", "text/plain", "", "# a shell script\n", nil, nil, "parse"},
		{"html", "text/html", "", html, nil, nil, "content_type"},
		{"html for an exposition", "text/plain", "", html, nil, nil, "parse"},
		{"html, with a fallback", "text/html", "", html, nil, fallback, "parse"},
		{"json", "application/json", "", "{\"a\": 1}", nil, nil, "content_type"},
		{"json as text", "text/plain", "", "{\"a\": 1}", nil, nil, "parse"},
		{"prose", "text/plain", "", "Hello, world\n", nil, nil, "parse"},
		{"prose like a metric", "text/plain", "", "metrics are at /metrics\n", nil, nil, "parse"},
		{"an exposition, then prose", "text/plain", "", "metric 1\nand so on\n", nil, nil, "parse"},
		{"binary", "text/plain; version=0.0.4", "", "metric 1\n\x00\n", nil, nil, "parse"},
		{"not UTF-8", "text/plain; version=0.0.4", "", "metric 1\nb{c=\"\xff\"} 1\n", nil, nil, "parse"},
		{"a content type that is none", "text/plain; =", "", sample, nil, nil, "content_type"},
		{"protobuf that is none", "application/vnd.google.protobuf", "", html, nil, nil, "parse"},

		// A named target has to say what it sends, as in Prometheus 3. At a listener
		// that was found nobody can set a fallback.
		{"no content type", "", "", sample, nil, nil, "content_type"},
		{"no content type, with a fallback", "", "", sample, nil, fallback, ""},
		{"no content type, found", "", "", sample, found, nil, ""},
		{"no content type and no exposition, found", "", "", html, found, nil, "parse"},
		{"another content type, found", "application/octet-stream", "", sample, found, nil, "content_type"},
		{"another content type, found, with a fallback", "application/octet-stream", "", sample, found, fallback, ""},

		// Prometheus's readResponse unpacks exactly gzip.
		{"gzip", "text/plain", "gzip", zipped(sample), nil, nil, ""},
		{"gzip that is none", "text/plain", "gzip", sample, nil, nil, "encoding"},
		{"gzip with another checksum", "text/plain", "gzip", zipped(sample)[:len(zipped(sample))-8] + "\x00\x00\x00\x00\x00\x00\x00\x00", nil, nil, "encoding"},
		{"gzip that is damaged", "text/plain", "gzip", zipped(sample)[:10] + "\xff\xff\xff\xff", nil, nil, "encoding"},
		{"the type in the wrong header", "", "text/plain; version=0.0.4", sample, nil, fallback, ""},
		{"a charset in the wrong header", "text/plain", "utf-8", sample, nil, nil, ""},
		{"identity", "text/plain", "identity", sample, nil, nil, ""},
		{"GZIP is not gzip", "text/plain", "GZIP", sample, nil, nil, ""},
		{"gzip twice", "text/plain", "gzip, gzip", zipped(zipped(sample)), nil, nil, "parse"},
		{"zstd, which was not asked for", "text/plain", "zstd", "\x28\xb5\x2f\xfd\x04\x00", nil, nil, "parse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := New(targetOf(t, model.LabelSet{"__address__": "h:1"}.Merge(tc.labels), tc.set), Options{})
			if err != nil {
				t.Fatal(err)
			}
			resp := &http.Response{
				StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(tc.body)),
				Header: http.Header{"Content-Encoding": {tc.encoding}},
			}
			if tc.contentType != "" {
				resp.Header.Set("Content-Type", tc.contentType)
			}
			a, err := c.Read(resp)
			if err == nil {
				err = a.Judge()
			}
			if got := Reason(err); got != tc.want || (err == nil) != (tc.want == "") {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

// A body that breaks off is no verdict about what it is.
func TestJudgeOfBrokenBody(t *testing.T) {
	broken := errors.New("broken off")
	a := Answer{Body: io.MultiReader(strings.NewReader("a 1\nb"), &failing{broken}), MediaType: exposition.MediaText}
	if err := a.Judge(); !errors.Is(err, broken) || Reason(err) != "" {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// The request is the one that the job describes, wherever the target comes from.
func TestRequest(t *testing.T) {
	for name, labels := range map[string]model.LabelSet{"named": nil, "found": {job.LabelListenerNetNS: "1"}} {
		t.Run(name, func(t *testing.T) {
			var got *http.Request
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, sample)
			}))
			defer s.Close()
			target := targetOf(t, model.LabelSet{"__address__": model.LabelValue(s.Listener.Addr().String())}.Merge(labels), func(j *job.Config) {
				j.Scheme, j.MetricsPath = "https", "/probe"
				j.Params = map[string][]string{"module": {"m"}}
				j.HTTPClientConfig.TLSConfig.InsecureSkipVerify = true
				j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "p"}
				j.HTTPClientConfig.HTTPHeaders = &config.Headers{Headers: map[string]config.Header{"X-Scope": {Values: []string{"team"}}}}
			})
			body, err := ask(t, target, Options{UserAgent: "tester"})
			if err != nil || body != sample {
				t.Fatalf("%q, %v", body, err)
			}
			user, password, _ := got.BasicAuth()
			text := fmt.Sprintf("%s %s:%s %s %s", got.URL, user, password, got.Header.Get("X-Scope"), got.UserAgent())
			if want := "/probe?module=m u:p team tester"; text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		})
	}
}

// serveRaw answers each request on a connection of its own, with bytes that net/http would not send,
// and returns where.
func serveRaw(t *testing.T, answer func(*http.Request) string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, answer(r))
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

// A proxy that refuses may answer with what it was sent. Nobody reads that.
func TestProxyRefuses(t *testing.T) {
	address := serveRaw(t, func(r *http.Request) string {
		return fmt.Sprintf("HTTP/1.1 503 %s\r\nContent-Length: 0\r\n\r\n", r.Header)
	})
	proxy, err := url.Parse("http://user:sesame@" + address)
	if err != nil {
		t.Fatal(err)
	}
	target := targetOf(t, model.LabelSet{"__address__": "127.0.0.1:1"}, func(j *job.Config) {
		j.Scheme = "https"
		j.HTTPClientConfig.ProxyConfig = config.ProxyConfig{
			ProxyURL: config.URL{URL: proxy}, ProxyConnectHeader: config.ProxyHeader{"X-Key": {"open"}},
		}
	})
	_, err = ask(t, target, Options{})
	if err == nil || !strings.Contains(err.Error(), "Proxy-Authorization:[Basic dXNlcjpzZXNhbWU=]") {
		t.Fatalf("net/http no longer says what the proxy answered: %v", err)
	}
	if got, want := NewQuoter(target.Job).Error(err), "an error that may be the proxy's (not quoted, since the job has credentials)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
