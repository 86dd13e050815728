package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// badExporter is an exporter that does something that no exporter should.
type badExporter struct {
	name string
	does act
	job  string // more of its job

	up     int
	reason string // of promscope_scrape_failures_total; empty if no scrape fails
	log    string // words of the one line in the log; empty if there is none
	shown  string // what the report has of it; empty if nothing
}

const (
	// good is what all of them have, so that there is something to show.
	good = "bad 7\n"
	// mark tells what a target sent from what promscope says.
	mark = "sesame"
)

// marks are more than an error may quote.
var marks = strings.Repeat(mark+" ", 60)

// victim is who is asked if a redirect is followed that must not be.
type victim struct {
	address string
	asked   atomic.Int64
}

func badExporters(t *testing.T, v *victim) []badExporter {
	ids := newIdentities(t)
	trusts := fmt.Sprintf("scheme: https, tls_config: {ca_file: %q}", ids.caFile)
	const (
		elsewhere = "follow_redirects_elsewhere: true"
		small     = "body_size_limit: 100KB"
		hasty     = "scrape_timeout: 1s"
	)
	// A family of protobuf: bad 7.
	family := "\x0a\x03bad\x18\x01\x22\x0b\x12\x09\x09\x00\x00\x00\x00\x00\x00\x1c\x40"
	delimited := string(rune(len(family))) + family
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	packed := zip(good)
	first := sync.OnceValue(func() string { return fmt.Sprintf("bad 7 %d\n", time.Now().UnixMilli()) })
	return []badExporter{
		// Slow, and endless.
		{"says nothing", hangs, hasty, 0, "timeout", "deadline exceeded", ""},
		{"reads and says nothing", asked(hangs), hasty, 0, "timeout", "deadline exceeded", ""},
		{"slow header", asked(drips(begin)), hasty, 0, "timeout", "deadline exceeded", ""},
		{"half a header", asked(sends(okay, "Content-"), hangs), hasty, 0, "timeout", "deadline exceeded", ""},
		{"slow body", asked(sends(begin, good), drips(good)), hasty, 0, "timeout", "deadline exceeded", ""},
		{"body that stands still", asked(sends(begin, good), hangs), hasty, 0, "timeout", "deadline exceeded", ""},
		{"endless body", asked(sends(begin), repeats(-1, good, 10*time.Millisecond)), hasty, 0, "timeout", "deadline exceeded", ""},
		{"endless body, fast", asked(sends(begin), repeats(-1, good, 0)), small, 0, "body_size_limit", "body_size_limit of 102400 bytes exceeded", ""},
		{"endless comments", asked(sends(begin, good), repeats(-1, "# "+marks+"\n", 0)), small, 0, "body_size_limit", "body_size_limit of 102400 bytes exceeded", ""},
		{"endless empty lines", asked(sends(begin, good), repeats(-1, "\n", 0)), small, 0, "body_size_limit", "body_size_limit of 102400 bytes exceeded", ""},
		{"endless chunks of one byte", asked(sends(okay, asText, inChunks, "\r\n"), repeats(-1, "1\r\n\n\r\n", 0)), small, 0, "body_size_limit", "body_size_limit of 102400 bytes exceeded", ""},
		{"endless trailer", asked(sends(okay, asText, inChunks, "\r\n", chunk(good), "0\r\n"), repeats(-1, "X: y\r\n", time.Millisecond)), "", 0, "connection", "trailer", ""},
		{"endless header", asked(sends(okay), repeats(-1, "X: "+marks+"\r\n", 0)), "", 0, "header_size_limit", "the header is larger than 262144 bytes", ""},
		{"header of 10 MB", asked(sends(okay, "X: "), repeats(10<<20/6, mark, 0), sends("\r\n", asText, "\r\n", good)), "", 0, "header_size_limit", "the header is larger than 262144 bytes", ""},
		{"a thousand headers", asked(sends(okay, asText), repeats(1000, "X: y\r\n", 0), sends("\r\n", good)), "", 1, "", "", "7"},
		{"100 Continue, a thousand times", asked(repeats(1000, "HTTP/1.1 100 Continue\r\n\r\n", 0), sends(begin, good)), "", 1, "", "", "7"},
		{"100 Continue, for ever", asked(repeats(-1, "HTTP/1.1 100 Continue\r\n\r\n", time.Millisecond)), hasty, 0, "timeout", "deadline exceeded", ""},
		{"early hints without end", asked(repeats(-1, "HTTP/1.1 103 Early Hints\r\nLink: "+marks+"\r\n\r\n", 0)), "", 0, "header_size_limit", "the header is larger than 262144 bytes", ""},

		// Broken off.
		{"refuses", nil, "", 0, "connection", "connection refused", ""},
		{"closes at once", func(net.Conn) {}, "", 0, "connection", "", ""},
		{"resets at once", resets, "", 0, "connection", "", ""},
		{"resets instead of an answer", asked(resets), "", 0, "connection", "connection reset by peer", ""},
		{"closes instead of an answer", asked(), "", 0, "connection", "EOF", ""},
		{"resets within the header", asked(sends(okay, "Content-"), resets), "", 0, "connection", "malformed MIME header", ""},
		{"closes within the header", asked(sends(okay, "Content-")), "", 0, "connection", "malformed MIME header", ""},
		{"resets after the header", asked(sends(begin), resets), "", 0, "connection", "connection reset by peer", ""},
		{"resets within the body", asked(sends(begin, good), resets), "", 0, "connection", "connection reset by peer", ""},
		{"shorter than its length", asked(sends(okay, asText, "Content-Length: 100\r\n\r\n", good)), "", 0, "truncated", "unexpected EOF", ""},
		{"longer than its length", asked(sends(okay, asText, "Content-Length: 6\r\n\r\n", good, marks)), "", 1, "", "", "7"},
		{"more after its answer", asked(sends("HTTP/1.1 200 OK\r\n", asText, "Content-Length: 6\r\n\r\n", good, marks), hangs), "", 1, "", "", "7"},
		{"truncated text without a length", asked(sends(begin, good, "bad{a=\"b")), "", 0, "parse", "quoted string is not closed", ""},
		{"truncated value without a length", asked(sends(begin, good, "bad{a=\"b\"}")), "", 0, "parse", "expected value", ""},
		{"truncated chunk", asked(sends(okay, asText, inChunks, "\r\n", chunk(good), "100\r\nbad")), "", 0, "truncated", "unexpected EOF", ""},
		{"no last chunk", asked(sends(okay, asText, inChunks, "\r\n", chunk(good))), "", 0, "truncated", "unexpected EOF", ""},
		{"resets before the last chunk", asked(sends(okay, asText, inChunks, "\r\n", chunk(good)), resets), "", 0, "connection", "connection reset by peer", ""},
		{"wrong chunk length", asked(sends(okay, asText, inChunks, "\r\n", chunk(good), marks, "\r\n")), "", 0, "connection", "chunk", ""},
		{"huge chunk length", asked(sends(okay, asText, inChunks, "\r\n", chunk(good), "fffffffffffffffff\r\n")), "", 0, "connection", "chunk length too large", ""},

		// No HTTP. What comes before the request net/http reports in one way or another.
		{"HTTP/0.9", asked(sends(good, marks)), "", 0, "connection", "malformed HTTP status code", ""},
		{"an HTTP/2 preface", then(sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), hangs), "", 0, "connection", "", ""},
		{"HTTP/2 frames", asked(sends("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64")), "", 0, "connection", "malformed HTTP response", ""},
		{"SSH", then(sends("SSH-2.0-OpenSSH_9.9 ", marks, "\r\n"), hangs), "", 0, "connection", "", ""},
		{"a line without colon in the header", asked(sends(okay, marks, "\r\n\r\n", good)), "", 0, "connection", "malformed MIME header", ""},
		{"a status that is no number", asked(sends("HTTP/1.1 ", marks, "\r\n\r\n")), "", 0, "connection", "malformed HTTP status code", ""},
		{"two lengths", asked(sends(okay, asText, "Content-Length: 6\r\nContent-Length: 7\r\n\r\n", good)), "", 0, "connection", "Content-Length", ""},
		{"a length that is none", asked(sends(okay, asText, "Content-Length: ", marks, "\r\n\r\n", good)), "", 0, "connection", "bad Content-Length", ""},
		{"unknown transfer encoding", asked(sends(okay, asText, "Transfer-Encoding: ", marks, "\r\n\r\n", good)), "", 0, "connection", "unsupported transfer encoding", ""},

		// TLS.
		{"TLS that is right", ids.serves(exposes(good), nil), trusts, 1, "", "", "7"},
		{"expired certificate", ids.serves(exposes(good), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), trusts, 0, "tls", "certificate has expired", ""},
		{"certificate of tomorrow", ids.serves(exposes(good), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), trusts, 0, "tls", "not yet valid", ""},
		{"certificate of another name", ids.serves(exposes(good), func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{strings.ReplaceAll(strings.TrimSpace(marks), " ", ".")}
		}), trusts, 0, "tls", "certificate", ""},
		{"certificate signed by itself", ids.serves(exposes(good), func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), trusts, 0, "tls", "unknown authority", ""},
		{"unknown authority", ids.serves(exposes(good), nil), "scheme: https", 0, "tls", "unknown authority", ""},
		{"TLS on a plain port", asked(sends("\x15\x03\x01\x00\x02\x02\x46")), "", 0, "connection", "malformed HTTP response", ""},
		{"plain on a TLS port", asked(sends(begin, good)), trusts, 0, "connection", "EOF", ""},
		{"plain on a TLS port, at once", sends(begin, good), trusts, 0, "tls", "server gave HTTP response to HTTPS client", ""},
		{"garbage on a TLS port", sends(marks), trusts, 0, "tls", "does not look like a TLS handshake", ""},
		{"closes within the handshake", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, trusts, 0, "connection", "", ""},

		// Status and type.
		{"204", asked(sends("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")), "", 0, "status", "HTTP status 204", ""},
		{"206", status("206 Partial Content", "Content-Range: bytes 0-5/100\r\n"), "", 0, "status", "HTTP status 206", ""},
		{"304", asked(sends("HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")), "", 0, "status", "HTTP status 304", ""},
		{"401", status("401 "+marks, "WWW-Authenticate: Basic realm=\""+marks+"\"\r\n"), "", 0, "status", "HTTP status 401 Unauthorized", ""},
		{"404", status("404 Not Found", ""), "", 0, "status", "HTTP status 404 Not Found", ""},
		{"500", status("500 Internal Server Error", ""), "", 0, "status", "HTTP status 500", ""},
		{"999", status("999 "+marks, ""), "", 0, "status", "HTTP status 999", ""},
		{"101", asked(sends("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", good)), "", 0, "status", "HTTP status 101", ""},
		{"no type", answers("", good), "", 0, "content_type", "no Content-Type", ""},
		{"a type that is none", answers("Content-Type: ;;;\r\n", good), "", 0, "content_type", "unsupported Content-Type", ""},
		{"HTML", answers("Content-Type: text/html\r\n", "<html>\n"+good), "", 0, "content_type", "unsupported Content-Type \\\"text/html\\\"", ""},
		{"HTML as text", exposes(good + "<html><body title=\"" + marks + "\">\n"), "", 0, "parse", "", ""},
		{"JSON", answers("Content-Type: application/json\r\n", "{}"), "", 0, "content_type", "unsupported Content-Type", ""},
		{"binary", exposes(good + "\x7fELF\x02\x01\x01\x00\x00" + marks), "", 0, "parse", "", ""},
		{"empty", exposes(""), "", 1, "", "", ""},
		{"a comment alone", exposes("# " + marks), "", 1, "", "", ""},

		// Encodings.
		{"gzip", answers(asText+gzipped, packed), "", 1, "", "", "7"},
		{"gzip that is none", answers(asText+gzipped, good+marks), "", 0, "encoding", "gzip: invalid header", ""},
		{"truncated gzip", answers(asText+gzipped, zip(good + lines(1000, "other{i=\"%d\"} 1\n"))[:500]), "", 0, "truncated", "unexpected EOF", ""},
		{"gzip with a wrong checksum", answers(asText+gzipped, packed[:len(packed)-8]+"\x00\x00\x00\x00"+packed[len(packed)-4:]), "", 0, "encoding", "invalid checksum", ""},
		{"gzip that is damaged", answers(asText+gzipped, packed[:10]+"\xff\xff\xff"+packed[13:]), "", 0, "encoding", "flate: corrupt input", ""},
		{"gzip bomb of zeros", answers(asText+gzipped, strings.Repeat(zip(strings.Repeat("\x00", 1<<20)), 300)), "", 0, "parse", "more than 4194304 bytes", ""},
		{"gzip bomb of lines", answers(asText+gzipped, strings.Repeat(zip(strings.Repeat(good, 1000)), 10_000)), small, 0, "body_size_limit", "body_size_limit of 102400 bytes exceeded", ""},
		{"deflate", answers(asText+"Content-Encoding: deflate\r\n", packed), "", 0, "parse", "", ""},
		{"br", answers(asText+"Content-Encoding: br\r\n", "\x0b\x02\x80"+marks), "", 0, "parse", "", ""},

		// Too much.
		{"a line of 100 MB", asked(sends(begin, good, "bad{a=\""), repeats(100<<20/6, mark, 0), sends("\"} 1\n")), "", 0, "parse", "more than 4194304 bytes", ""},
		{"a label value of 10 MB", exposes("bad{a=\"" + strings.Repeat("x", 10<<20) + "\"} 1\n"), "", 0, "parse", "more than 4194304 bytes", ""},
		{"a label value of 1 MB", exposes("bad{a=\"" + strings.Repeat(marks, 1<<20/len(marks)) + "\"} 1\n"), "", 0, "label_limit", "label_value_length_limit of 16384 exceeded", ""},
		{"a label name of 1 MB", exposes("bad{" + strings.Repeat(mark, 1<<20/6) + "=\"x\"} 1\n"), "", 0, "label_limit", "label_name_length_limit of 1024 exceeded", ""},
		{"a metric name of 1 MB", exposes(good + strings.Repeat(mark, 1<<20/6) + " 1\n"), "", 1, "", "", "7"},
		{"a value of 1 MB", exposes("bad 1" + strings.Repeat("0", 1<<20) + "\n"), "", 0, "parse", "", ""},
		{"1,000,000 labels", exposes("bad{" + lines(1_000_000, "a%d=\"\",") + "} 1\n"), "", 0, "parse", "more than 4194304 bytes", ""},
		{"10,000 labels", exposes("bad{" + lines(10_000, "a%d=\"b\",") + "} 1\n"), "", 0, "label_limit", "label_limit of 128 exceeded", ""},
		{"10,000 series", exposes(lines(10_000, "bad{a=\"%d\"} 1\n")), "sample_limit: 1000", 0, "sample_limit", "sample_limit of 1000 exceeded", ""},
		{"110,000 series that a rule selects", exposes(good + lines(110_000, "bad{a=\"%d\"} 1\n")), "", 0, "series_limit", "limits.max_series of 100000 exceeded", ""},
		{"100,000 series that nobody wants", exposes(good + lines(100_000, "other{a=\"%d\"} 1\n")), "", 1, "", "", "7"},
		{"300,000 empty lines", exposes(strings.Repeat("\n", 300_000) + good), "", 1, "", "", "7"},

		// Samples.
		{"the same series twice", exposes(good + "bad 8\n"), "", 1, "", "", "7"},
		{"a series with two types", exposes("# TYPE bad counter\n" + good + "# TYPE bad histogram\nbad 8\n"), "", 1, "", "", "7"},
		{"a label twice", exposes("bad{a=\"1\",a=\"2\"} 7\n"), "", 0, "parse", "label a is there twice", ""},
		{"NaN", exposes("bad NaN\n"), "", 1, "", "", ""},
		{"infinity", exposes("bad +Inf\n"), "", 1, "", "", ""},
		{"negative infinity", exposes("bad -Inf\n"), "", 1, "", "", ""},
		{"more than Scope can show", exposes("bad 1e300\n"), "", 1, "", "", ""},
		{"a value that is none", exposes(good + "bad{a=\"" + marks + "\"} seven\n"), "", 0, "parse", "", ""},
		{"a timestamp of 1970", exposes("bad 7 1000\n"), "", 1, "", "", ""},
		{"a timestamp of 2099", exposes("bad 7 4070908800000\n"), "", 1, "", "", ""},
		{"a timestamp that overflows", exposes("bad 7 99999999999999999999\n"), "", 0, "parse", "", ""},
		{"a timestamp that stands still", func(c net.Conn) { exposes(first())(c) }, "", 1, "", "", "7"},
		{"a counter that runs backwards", counts("work_total 1000\n", "work_total 900\n", "work_total 800\n", "work_total 700\n"), "scrape_interval: 3s", 1, "", "", "> 0"},
		{"a histogram without +Inf", exposes("# TYPE took histogram\ntook_bucket{le=\"1\"} 5\ntook_bucket{le=\"2\"} 9\n"), "", 1, "", "", ""},
		{"a histogram with decreasing buckets", exposes("# TYPE took histogram\ntook_bucket{le=\"1\"} 10\ntook_bucket{le=\"2\"} 5\ntook_bucket{le=\"+Inf\"} 10\n"), "", 1, "", "", "0.9"},
		{"a bucket bound that is none", exposes("# TYPE took histogram\ntook_bucket{le=\"" + mark + "\"} 10\ntook_bucket{le=\"+Inf\"} 10\n"), "", 1, "", "", ""},

		// Characters.
		{"UTF-8 names", exposes("{\"bäd.metric\",\"läbel\"=\"ü\"} 7\n"), "", 1, "", "", "7"},
		{"invalid UTF-8 in a value", exposes(good + "bad{a=\"\xff" + marks + "\"} 1\n"), "", 0, "parse", "invalid UTF-8 label value", ""},
		{"invalid UTF-8 in a name", exposes(good + "bad\xff 1\n"), "", 0, "parse", "", ""},
		{"a raw newline in a value", exposes("other{a=\"x\nbad 8\n\"} 1\n" + good), "", 1, "", "", "7"},
		{"a NUL in a value", exposes(good + "bad{a=\"\x00\"} 0\n"), "", 1, "", "", "7"},
		{"a NUL on a line of its own", exposes(good + "\x00\nbad 8\n"), "", 1, "", "", "7"},
		{"a byte order mark", exposes("\xef\xbb\xbf" + good), "", 0, "parse", "", ""},
		{"CRLF", exposes("bad 7\r\n"), "", 0, "parse", "", ""},
		{"UTF-16", exposes("b\x00a\x00d\x00 \x007\x00\n\x00"), "", 0, "parse", "", ""},

		// Other formats.
		{"OpenMetrics without # EOF", answers(asOpen, "# TYPE bad gauge\n"+good), "", 0, "parse", "does not end with # EOF", ""},
		{"OpenMetrics with more after # EOF", answers(asOpen, "# TYPE bad gauge\n"+good+"# EOF\n"+marks), "", 0, "parse", "unexpected data after # EOF", ""},
		{"OpenMetrics that is text", answers(asOpen, "# comment\nbad  7\n# EOF\n"), "", 0, "parse", "", ""},
		{"protobuf", answers(asProto, delimited), "", 1, "", "", "7"},
		{"protobuf, truncated", answers(asProto, delimited+delimited[:12]), "", 0, "truncated", "protobuf metric family: unexpected EOF", ""},
		{"protobuf with a length too short", answers(asProto, "\x05"+family), "", 0, "truncated", "protobuf metric family: unexpected EOF", ""},
		{"protobuf with a length of 4 GB", answers(asProto, "\xff\xff\xff\xff\x0f"+family), "", 0, "truncated", "protobuf metric family: unexpected EOF", ""},
		{"protobuf with an endless length", answers(asProto, strings.Repeat("\xff", 20)), "", 0, "parse", "malformed protobuf metric family", ""},
		{"protobuf that is text", answers(asProto, good+marks), "", 0, "truncated", "protobuf metric family: unexpected EOF", ""},

		// Redirects.
		{"redirect to another host", leads("http://" + v.address + "/metrics"), "", 0, "redirect", "leads away from the target", ""},
		{"redirect to a file", leads("file:///etc/passwd"), elsewhere, 0, "redirect", "leads to no web server", ""},
		{"redirect to a link-local address", leads("http://169.254.1.1/metrics"), elsewhere, 0, "redirect", "link-local or metadata address", ""},
		{"redirect to cloud credentials", leads("http://metadata.google.internal/"), elsewhere, 0, "redirect", "link-local or metadata address", ""},
		{"redirect to https", leads("https://" + v.address + "/"), "", 0, "redirect", "leads away from the target", ""},
		{"redirect in a circle", loops, "", 0, "redirect", "leads back", ""},
		{"redirect to nowhere", leads("http://%zz/" + marks), "", 0, "connection", "failed to parse Location header", ""},
		{"redirect without a place", status("302 Found", ""), "", 0, "status", "HTTP status 302", ""},
		{"redirect to far away", leads("http://" + v.address + strings.Repeat("/far/away", 100)), "", 0, "redirect", "leads away from the target", ""},
	}
}

// badRules shows each of them as the host's metric bad_CASE.
const badRules = `
limits: {max_metrics_per_rule: 1000}
rules:
  - {metric: targets, label: Targets, expr: count(up), node: host}
  - metric: bad_${case}
    label: Bad ${case}
    node: host
    expr: >
      sum by (case) (bad) or sum by (case) ({"bäd.metric"}) or sum by (case) (rate(work_total[12s]))
      or histogram_quantile(0.9, sum by (case, le) (took_bucket))
`

// neighbour is an exporter that is as it should be. It knows what it said and when.
type neighbour struct {
	name, address string

	mu      sync.Mutex
	scraped []time.Time

	// What the reports had of it, by the time of the scrape in Unix milliseconds.
	scrapes, rates map[int64]float64
}

const (
	neighbourJob = "  - {job_name: %[1]s, scrape_interval: 2s, static_configs: [{targets: [%[2]q]}]}\n"
	// neighbourRules show how often it was scraped, and the rate of a counter that grows
	// by 50 with each scrape.
	neighbourRules = `
  - {metric: scrapes_%[1]s, label: Scrapes %[1]s, expr: 'scrapes{job="%[1]s"}', node: host}
  - {metric: requests_%[1]s, label: Requests %[1]s, expr: 'irate(requests_total{job="%[1]s"}[10s])', node: host}
`
)

func newNeighbour(t *testing.T, name string) *neighbour {
	n := &neighbour{name: name, scrapes: map[int64]float64{}, rates: map[int64]float64{}}
	n.address = newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.scraped = append(n.scraped, time.Now())
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "scrapes %d\nrequests_total %d\n", len(n.scraped), 50*len(n.scraped))
	})
	return n
}

// look notes what a report has of it.
func (n *neighbour) look(t *testing.T, r *probetest.Report) {
	t.Helper()
	for metric, seen := range map[string]map[int64]float64{"scrapes_": n.scrapes, "requests_": n.rates} {
		m := r.Metric("Host", hostNode, metric+n.name)
		if m == nil {
			if len(seen) > 0 {
				t.Errorf("%s%s is no longer there", metric, n.name)
			}
			continue
		}
		for _, s := range m.Samples {
			seen[s.Date.UnixMilli()] = s.Value
		}
	}
}

// check holds what was shown against what was said: each scrape is there, with its number
// and the rate since the one before. It returns by how much a scrape was off its time at
// most.
func (n *neighbour) check(t *testing.T) (off time.Duration) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	dates := slices.Sorted(maps.Keys(n.scrapes))
	first := int(n.scrapes[dates[0]])
	for k, at := range dates {
		number := first + k
		if got := n.scrapes[at]; got != float64(number) {
			t.Fatalf("%s has %v as scrape %d: %v", n.name, got, number, n.scrapes)
		}
		late := n.scraped[number-1].Sub(time.UnixMilli(at))
		if late < 0 {
			t.Errorf("%s: scrape %d is dated %s after it was", n.name, number, -late)
		}
		off = max(off, late)
		if k < 2 { // the first one is early, to be there soon
			continue
		}
		since := time.Duration(at-dates[k-1]) * time.Millisecond
		off = max(off, (since - 2*time.Second).Abs())
		if want := 50 / since.Seconds(); math.Abs(n.rates[at]-want) > 1e-9*want {
			t.Errorf("%s: the rate since scrape %d is %v, want %v", n.name, number-1, n.rates[at], want)
		}
	}
	return off
}

// TestBadExporters has promscope scrape exporters that do all that can be done wrong, at
// once, and each once more with credentials. What comes of each is in the table. Beside
// them are two good exporters: none of their samples is missing or wrong, and none is
// later than those of a promscope that has no bad exporters.
func TestBadExporters(t *testing.T) {
	if raceDetector() {
		t.Skip("promscope is ten times as slow with the race detector, and all of this is about time; the tests of bridge/scrape have bad targets with it")
	}
	t.Parallel()
	v := &victim{}
	v.address = newServer(t, func(http.ResponseWriter, *http.Request) { v.asked.Add(1) })
	all := badExporters(t, v)

	var jobs, rules strings.Builder
	for i, b := range all {
		address := freeAddress(t)
		if b.does != nil {
			address = played(t, b.does)
		}
		for suffix, auth := range b.jobs() {
			more := auth
			if b.job != "" {
				more += ", " + b.job
			}
			fmt.Fprintf(&jobs, "  - {job_name: %q, static_configs: [{targets: [%q], labels: {case: \"%d%s\"}}]%s}\n",
				b.name+suffix, address, i, strings.TrimPrefix(suffix, "+"), more)
		}
	}
	neighbours := []*neighbour{newNeighbour(t, "left"), newNeighbour(t, "right")}
	for _, n := range neighbours {
		fmt.Fprintf(&jobs, neighbourJob, n.name, n.address)
		fmt.Fprintf(&rules, neighbourRules, n.name)
	}
	alone := newNeighbour(t, "alone")
	const base = noPresets + "collectors: {http: {enabled: false}, iowait: {enabled: false}}\n"
	other := startPlugin(t, base+"scrape_configs:\n"+fmt.Sprintf(neighbourJob, alone.name, alone.address)+
		"rules:"+fmt.Sprintf(neighbourRules, alone.name))
	p := startPlugin(t, base+"global: {scrape_interval: 20s, scrape_timeout: 10s}\nscrape_configs:\n"+jobs.String()+badRules+rules.String())
	quiet, client := probe(t, other), probe(t, p)
	var report *probetest.Report
	for began := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		alone.look(t, poll(t, quiet, 1))
		report = poll(t, client, 1)
		samples := len(alone.scrapes)
		for _, n := range neighbours {
			n.look(t, report)
			samples = min(samples, len(n.scrapes))
		}
		status, unready, err := fetch(t, p.web+"/-/ready")
		if err == nil && status == http.StatusOK && samples >= 5 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("there are %d samples, and not every exporter was scraped: %s, %v", samples, unready, err)
		}
	}
	for _, n := range neighbours {
		if off, usual := n.check(t), alone.check(t); off > max(1500*time.Millisecond, 3*usual) {
			t.Errorf("scrapes of %s are off their time by %s, and by %s beside no bad exporter", n.name, off, usual)
		}
	}
	if n := v.asked.Load(); n > 0 {
		t.Errorf("%d redirects were followed to somebody else", n)
	}
	for line := range strings.Lines(p.output.String()) {
		if strings.Contains(line, mark) && !strings.Contains(line, downLine) {
			t.Errorf("it is quoted in %.1000s", line)
		}
	}
	c := whatCame(t, p)
	for i, b := range all {
		for suffix := range b.jobs() {
			t.Run(b.name+suffix, func(t *testing.T) {
				b.check(t, b.name+suffix, c, report.Metric("Host", hostNode, fmt.Sprintf("bad_%d%s", i, strings.TrimPrefix(suffix, "+"))))
			})
		}
	}
}

// jobs returns what the names of the exporter's jobs end with, and their settings.
func (b badExporter) jobs() map[string]string {
	if strings.Contains(b.job, "elsewhere") { // which no job with credentials may have
		return map[string]string{"": ""}
	}
	return map[string]string{"": "", "+auth": ", basic_auth: {username: u, password: p}"}
}

// downLine is what the log says of a target that does not serve an exposition.
const downLine = `msg="Target is down"`

// came is what promscope says of its targets, by job.
type came struct {
	up      map[string]string
	reasons map[string]string
	logged  map[string][]string // errors
}

func whatCame(t *testing.T, p *plugin) came {
	t.Helper()
	c := came{up: map[string]string{}, reasons: map[string]string{}, logged: map[string][]string{}}
	_, body, err := fetch(t, p.web+"/api/v1/query?query=up")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct{ Job string }
				Value  [2]any // time and value
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	for _, r := range answer.Data.Result {
		c.up[r.Metric.Job] = fmt.Sprint(r.Value[1])
	}
	for _, m := range regexp.MustCompile(`promscope_scrape_failures_total\{job="([^"]+)",reason="([^"]+)"\}`).FindAllStringSubmatch(p.metrics(t), -1) {
		c.reasons[m[1]] += m[2]
	}
	for _, m := range regexp.MustCompile(downLine+` job="?([^"=]+)"? instance=\S+ err=(.*)`).FindAllStringSubmatch(p.output.String(), -1) {
		c.logged[m[1]] = append(c.logged[m[1]], m[2])
	}
	return c
}

// check holds what came of a job of the exporter against the table.
func (b badExporter) check(t *testing.T, job string, c came, metric *probetest.Metric) {
	if c.up[job] != strconv.Itoa(b.up) {
		t.Errorf("up is %s, want %d", c.up[job], b.up)
	}
	if c.reasons[job] != b.reason {
		t.Errorf("the reason is %q, want %q", c.reasons[job], b.reason)
	}
	log := c.logged[job]
	if b.up == 1 && len(log) > 0 || b.up == 0 && (len(log) != 1 || !strings.Contains(log[0], b.log)) {
		t.Errorf("the log has %.1000q, want %q", log, b.log)
	}
	for _, line := range log {
		quoted := strings.Count(line, mark)
		if quoted*len(mark) > 100 || quoted > 0 && job != b.name || len(line) > 300 {
			t.Errorf("the log quotes it %d times in %d bytes: %.1000s", quoted, len(line), line)
		}
	}
	if metric == nil {
		if b.shown != "" {
			t.Errorf("the report has nothing, want %s", b.shown)
		}
		return
	}
	value := metric.Samples[len(metric.Samples)-1].Value
	want, err := strconv.ParseFloat(b.shown, 64)
	if b.shown == "> 0" && value > 0 || err == nil && math.Abs(value-want) < 1e-9 {
		return
	}
	t.Errorf("the report has %v, want %q", value, b.shown)
}
