package probetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pollTimeout is what the probe allows for connecting, headers and body together.
const pollTimeout = 500 * time.Millisecond

// ProbeID is how a Client introduces itself.
const ProbeID = "6befab12ed9aaa96"

// Client polls a plugin's socket. It is for one goroutine.
type Client struct {
	client    *http.Client
	timeout   time.Duration
	checker   *Checker
	query     string
	polled    bool // successfully, so that there is a connection to be used again
	dialed    int  // polls in a row that dialed although there was one
	received  bytes.Buffer
	durations []time.Duration
}

// NewClient returns a client of the plugin behind the socket, whose name without
// its last extension is the plugin's id.
func NewClient(socket string, opts Options) *Client {
	id := strings.TrimSuffix(filepath.Base(socket), filepath.Ext(socket))
	var dialer net.Dialer
	return &Client{
		client: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		}},
		timeout: cmp.Or(opts.Timeout, pollTimeout),
		checker: NewChecker(id, opts),
		query:   url.Values{"api_version": {apiVersion}, "probe_id": {ProbeID}}.Encode(),
	}
}

// Poll polls once and checks everything. The error is of type *Error if the plugin
// answered; the report is returned as far as it could be read.
func (c *Client) Poll(ctx context.Context) (*Report, error) {
	answer, err := c.get(ctx)
	if err != nil {
		c.polled = false
		return nil, err
	}
	report, err := c.checker.Check(bytes.Clone(c.received.Bytes()))
	report.Elapsed, report.Reused = answer.elapsed, answer.reused

	found := answer.violations
	if !c.polled || answer.reused {
		c.dialed = 0
	} else {
		c.dialed++
	}
	// Once may be the client's: net/http drops a connection whose writer had no CPU for 50 ms
	// (maxWriteWaitBeforeConnReuse).
	if c.dialed > 1 {
		found.add("", "the connection was not kept: the probe dials anew each second")
	}
	c.polled = true
	var inBody *Error
	if errors.As(err, &inBody) {
		found = append(found, inBody.Violations...)
	}
	return report, found.err()
}

// Fetch polls once and checks the exchange, but not the report: for measuring. It
// returns the report's bytes.
func (c *Client) Fetch(ctx context.Context) (int, error) {
	answer, err := c.get(ctx)
	if err != nil {
		return 0, err
	}
	return c.received.Len(), answer.violations.err()
}

// PollFor polls once an interval, n times, and stops at the first error.
func (c *Client) PollFor(ctx context.Context, n int, interval time.Duration) (last *Report, err error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for i := range n {
		if last, err = c.Poll(ctx); err != nil {
			return last, fmt.Errorf("poll %d: %w", i+1, err)
		}
		if i == n-1 {
			break
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-ticker.C:
		}
	}
	return last, nil
}

// Await polls until a report is as wanted, and stops at the first error.
func (c *Client) Await(ctx context.Context, interval time.Duration, wanted func(*Report) bool) (*Report, error) {
	for {
		report, err := c.PollFor(ctx, 1, interval)
		if err != nil || wanted(report) {
			return report, err
		}
		select {
		case <-ctx.Done():
			return report, ctx.Err()
		case <-time.After(interval):
		}
	}
}

// Latency returns the q-quantile of the time that the polls so far have taken, with
// decoding.
func (c *Client) Latency(q float64) time.Duration {
	if len(c.durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(c.durations))
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Close closes the connection.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// answer is what came back from a poll, without the body.
type answer struct {
	elapsed    time.Duration
	reused     bool
	violations violations
}

// get asks for the report, leaves it in c.received and decodes it.
func (c *Client) get(ctx context.Context) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { a.reused = info.Reused },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin/report?"+c.query, nil)
	if err != nil {
		return a, err
	}
	// The probe leaves this to net/http, which then hides the answer's length.
	request.Header.Set("Accept-Encoding", "gzip")

	start := time.Now()
	response, err := c.client.Do(request)
	if err != nil {
		return a, fmt.Errorf("polling: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	c.received.Reset()
	if _, err = c.received.ReadFrom(response.Body); err != nil {
		return a, fmt.Errorf("polling: reading the report: %w", err)
	}
	// The checker says what is wrong with it.
	_ = json.Unmarshal(c.received.Bytes(), &decoded{})
	a.elapsed = time.Since(start)
	if response.StatusCode != http.StatusOK {
		return a, wrong("status is %s, want 200", response.Status)
	}
	if response.ContentLength < 0 {
		a.violations.add("", "there is no Content-Length: the probe dials anew each second")
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" {
		return a, wrong("Content-Encoding is %q: the probe would unpack the report while it holds a lock", encoding)
	}
	c.durations = append(c.durations, a.elapsed)
	return a, nil
}

// decoded is what the probe decodes an answer into (report.Report of Scope), as far as
// a plugin fills it.
type decoded struct {
	Plugins                       []Plugin
	Host, Process, Container, Pod struct {
		Templates map[string]Template `json:"metric_templates"`
		Nodes     map[string]struct {
			Metrics map[string]Metric `json:"metrics"`
		} `json:"nodes"`
	}
}

// wrong is an error of one violation.
func wrong(format string, args ...any) error {
	var v violations
	v.add("", format, args...)
	return v.err()
}
