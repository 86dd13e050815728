package scrape

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// failure is why a scrape failed, with a word for it that can be a label.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// reasonOf returns the word for why a scrape failed.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	default:
		return "connection"
	}
}

// answer is what a target answers to one scrape: an exposition.
type answer struct {
	body      io.Reader // uncompressed and limited
	mediaType string
	close     func()
	// partial is why the exposition is not all there, though what there is of
	// it is good.
	partial error
}

// scraper asks a target for expositions.
type scraper interface {
	// scrape asks for one exposition. The query is added to the request's. The
	// caller closes the answer.
	scrape(ctx context.Context, query url.Values) (answer, error)
	// origin returns the labels of the process that answered, if known.
	origin(ctx context.Context) labels.Labels
	// note says what the last answer speaks of, and why.
	note() string
	close()
}

// fetcher asks a target by HTTP.
type fetcher struct {
	client *client
	job    *job.Config
	plain  *bufio.Reader
	gzip   *gzip.Reader
}

func (f *fetcher) origin(ctx context.Context) labels.Labels { return f.client.originLabels(ctx) }

func (f *fetcher) note() string { return f.client.subject.Note }

func (f *fetcher) close() { f.client.close() }

// maxDrain is how much of a body that is not wanted is read to keep the
// connection.
const maxDrain = 64 << 10

func (f *fetcher) scrape(ctx context.Context, query url.Values) (answer, error) {
	resp, err := f.client.do(f.client.looking(ctx), query)
	if err != nil {
		return answer{}, err
	}
	done := func() {
		// What is left is mostly nothing. An error here is of no interest:
		// the connection is then not used again.
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		_ = resp.Body.Close()
	}
	a, err := f.read(resp)
	if err != nil {
		done()
		return answer{}, err
	}
	a.close = done
	return a, nil
}

func (f *fetcher) read(resp *http.Response) (a answer, err error) {
	if resp.StatusCode != http.StatusOK {
		return a, &failure{"status", fmt.Errorf("server returned HTTP status %s", resp.Status)}
	}
	a.mediaType, err = exposition.MediaType(resp.Header.Get("Content-Type"), f.job.ScrapeFallbackProtocol)
	if err != nil {
		return a, &failure{"content_type", err}
	}
	a.body = resp.Body
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		if a.body, err = f.unzip(resp.Body); err != nil {
			return a, &failure{"encoding", fmt.Errorf("gzip: %w", err)}
		}
	default:
		return a, &failure{"encoding", fmt.Errorf("unsupported Content-Encoding %q", encoding)}
	}
	if limit := int64(f.job.BodySizeLimit); limit > 0 {
		a.body = &limitedReader{src: a.body, left: limit, limit: limit}
	}
	return a, nil
}

func (f *fetcher) unzip(body io.Reader) (io.Reader, error) {
	if f.gzip == nil {
		f.plain = bufio.NewReader(body)
		var err error
		f.gzip, err = gzip.NewReader(f.plain)
		return f.gzip, err
	}
	f.plain.Reset(body)
	return f.gzip, f.gzip.Reset(f.plain)
}

// limitedReader fails when more than limit bytes are read through it.
type limitedReader struct {
	src         io.Reader
	left, limit int64
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, &failure{"body_size_limit", fmt.Errorf("body_size_limit of %d bytes exceeded", r.limit)}
	}
	return n, err
}
