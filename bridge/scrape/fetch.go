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

// exposition is what a target answers to one scrape.
type exposition struct {
	body  io.Reader // uncompressed and limited
	media string
	close func()
	// partial is why the exposition is not all there, though what there is of
	// it is good.
	partial error
}

// source is where a loop gets expositions from.
type source interface {
	// open begins a scrape; the exposition is to be closed. The query is
	// added to the request's.
	open(ctx context.Context, query url.Values) (exposition, error)
	// origin returns the labels of the process that answered, if known.
	origin(ctx context.Context) labels.Labels
	close()
}

// fetcher is the source of an HTTP target.
type fetcher struct {
	client *client
	job    *Config
	plain  *bufio.Reader
	gzip   *gzip.Reader
}

func (f *fetcher) origin(ctx context.Context) labels.Labels { return f.client.originLabels(ctx) }

func (f *fetcher) close() { f.client.close() }

// maxDrain is how much of a body that is not wanted is read to keep the
// connection.
const maxDrain = 64 << 10

func (f *fetcher) open(ctx context.Context, query url.Values) (exposition, error) {
	resp, err := f.client.do(ctx, query)
	if err != nil {
		return exposition{}, err
	}
	done := func() {
		// What is left is mostly nothing. An error here is of no interest:
		// the connection is then not used again.
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		_ = resp.Body.Close()
	}
	ex, err := f.read(resp)
	if err != nil {
		done()
		return exposition{}, err
	}
	ex.close = done
	return ex, nil
}

func (f *fetcher) read(resp *http.Response) (ex exposition, err error) {
	if resp.StatusCode != http.StatusOK {
		return ex, &failure{"status", fmt.Errorf("server returned HTTP status %s", resp.Status)}
	}
	ex.media, err = mediaTypeOf(resp.Header.Get("Content-Type"), f.job.ScrapeFallbackProtocol)
	if err != nil {
		return ex, &failure{"content_type", err}
	}
	ex.body = resp.Body
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		if ex.body, err = f.unzip(resp.Body); err != nil {
			return ex, &failure{"encoding", fmt.Errorf("gzip: %w", err)}
		}
	default:
		return ex, &failure{"encoding", fmt.Errorf("unsupported Content-Encoding %q", encoding)}
	}
	if limit := int64(f.job.BodySizeLimit); limit > 0 {
		ex.body = &limitedReader{src: ex.body, left: limit, limit: limit}
	}
	return ex, nil
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
