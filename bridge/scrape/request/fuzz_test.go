package request

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// FuzzAnswer: whatever a listener answers, what is judged to be an exposition can be read
// as a scrape reads it. What people are told of anything else quotes at most 100 bytes, and
// no body of a job with credentials.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 30\r\n\r\n# TYPE a gauge\na{x=\"y\"} 1\nb 2\n",
		"HTTP/1.0 200 OK\r\nContent-Type: application/openmetrics-text\r\n\r\n# TYPE a counter\na_total 1\n# EOF\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n" + zipped(sample),
		"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.google.protobuf\r\n\r\n\x05\x0a\x01a\x18\x01",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na 1\nsome long prose that no exposition has, \"in quotes\" and not\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n",
	} {
		f.Add([]byte(answer))
	}
	// The judge sees only the beginning of what is larger.
	small := func(j *job.Config) { j.BodySizeLimit = 4000 }
	secretive := func(j *job.Config) {
		small(j)
		j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "p"}
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, secret := range []bool{false, true} {
			set := small
			if secret {
				set = secretive
			}
			target := targetOf(t, model.LabelSet{"__address__": "h:1"}, set)
			body, err := judged(t, target, answer)
			if err == nil {
				continue
			}
			told := NewQuoter(target.Job).Error(err)
			if len(told) > 400 {
				t.Errorf("%d bytes: %s", len(told), told)
			}
			if quoted := common(told, body); secret && len(quoted) >= 16 {
				t.Errorf("%q is quoted in %q", quoted, told)
			} else if len(quoted) > maxQuoted {
				t.Errorf("%d bytes are quoted in %q", len(quoted), told)
			}
		}
	})
}

// judged asks, judges, and reads what is an exposition. It returns the body, as far as it
// came, and the error.
func judged(t *testing.T, target *job.Target, answer []byte) (body string, err error) {
	t.Helper()
	c, err := New(target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := func() (Answer, *strings.Builder, error) {
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(answer))), nil) //nolint:bodyclose // the reader of a string
		if err != nil {
			return Answer{}, &strings.Builder{}, err
		}
		a, err := c.Read(resp)
		if err != nil {
			return a, &strings.Builder{}, err
		}
		seen := &strings.Builder{}
		a.Body = io.TeeReader(a.Body, seen)
		return a, seen, nil
	}
	a, seen, err := read()
	if err != nil {
		return seen.String(), err
	}
	if err := a.Judge(); err != nil {
		return seen.String(), err
	}
	if a, seen, err = read(); err != nil {
		t.Fatalf("it was read before: %v", err)
	}
	var r exposition.Reader
	r.Reset(a.Body, a.MediaType, exposition.Options{})
	for {
		p, err := r.Next()
		for err == nil {
			_, err = p.Next()
		}
		switch {
		case p != nil && errors.Is(err, io.EOF): // the end of a piece
		case errors.Is(err, io.EOF):
			return seen.String(), nil
		case p == nil && (Reason(err) == "" || Reason(err) == "body_size_limit"): // broken off
			return seen.String(), err
		default:
			t.Fatalf("judged to be an exposition: %v", err)
		}
	}
}

// common is the longest text that both have.
func common(a, b string) (longest string) {
	lengths := make([]int, len(b)+1) // of what ends at both places
	for i := range len(a) {
		for j := range slices.Backward(lengths[1:]) {
			if a[i] != b[j] {
				lengths[j+1] = 0
				continue
			}
			lengths[j+1] = lengths[j] + 1
			if n := lengths[j+1]; n > len(longest) {
				longest = b[j+1-n : j+1]
			}
		}
	}
	return longest
}
