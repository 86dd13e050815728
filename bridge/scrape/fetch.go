package scrape

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// reasonOf returns the word for why a scrape failed.
func reasonOf(err error) string {
	if reason := request.Reason(err); reason != "" {
		return reason
	}
	var (
		timeout net.Error
		file    *fs.PathError
	)
	switch {
	// What the settings name, in the words of prometheus/common. To dial opens files too.
	case errors.As(err, &file) && strings.Contains(err.Error(), "unable to read file "+file.Path):
		return "settings"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	case isTLS(err):
		return "tls"
	default:
		return "connection"
	}
}

// isTLS tells whether one side refuses the other's TLS, or there is none.
func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       *net.OpError
	)
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &certificate) || errors.As(err, &record) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error") // those of crypto/tls
}

// answer is what a target answers to one scrape: an exposition.
type answer struct {
	body        io.Reader // uncompressed and limited
	mediaType   string
	contentType string // what the target says of it; empty if it is not asked by HTTP
	close       func()
	// partial is why the exposition is not all there, though what there is of
	// it is good.
	partial error
}

// scraper asks a target for expositions.
type scraper interface {
	// scrape asks for one exposition, whose samples get that time. The query is
	// added to the request's. The caller closes the answer.
	scrape(ctx context.Context, at time.Time, query url.Values) (answer, error)
	// origin returns the labels of the process that answered, if known.
	origin(ctx context.Context) labels.Labels
	// note says what the last answer speaks of, and why.
	note() string
	close()
}

// fetcher asks a target by HTTP.
type fetcher struct {
	target *job.Target
	opts   Options
	client *client // nil as long as the job's settings allow none, mostly files that cannot be read
}

func (f *fetcher) origin(ctx context.Context) labels.Labels { return f.client.originLabels(ctx) }

func (f *fetcher) note() string {
	if f.client == nil {
		return ""
	}
	return f.client.subject.Note
}

func (f *fetcher) close() {
	if f.client != nil {
		f.client.close()
	}
}

// maxDrain is how much of a body that is not wanted is read to keep the
// connection.
const maxDrain = 64 << 10

func (f *fetcher) scrape(ctx context.Context, _ time.Time, query url.Values) (answer, error) {
	if f.client == nil {
		c, err := newClient(f.target, f.opts)
		if err != nil {
			return answer{}, request.NewError("settings", err)
		}
		f.client = c
	}
	resp, err := f.client.asks.Do(f.client.looking(ctx), query)
	if err != nil {
		return answer{}, err
	}
	done := func() {
		// What is left is mostly nothing. An error here is of no interest:
		// the connection is then not used again.
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		_ = resp.Body.Close()
	}
	a, err := f.client.asks.Read(resp)
	if err != nil {
		done()
		return answer{}, err
	}
	return answer{body: a.Body, mediaType: a.MediaType, contentType: a.ContentType, close: done}, nil
}
