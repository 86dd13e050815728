package request

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Answer is what a target answers: an exposition, as far as its header tells.
type Answer struct {
	Body      io.Reader // uncompressed, and limited by body_size_limit
	MediaType string    // as exposition.Reader takes it
	// ContentType is what the target says of it.
	ContentType string
}

// Judge tells by the body whether the answer is an exposition, for which it reads a part
// of it. If the body is none, that is an *Error; other errors are those of reading.
func (a *Answer) Judge() error {
	body := &erringReader{src: a.Body}
	some, err := exposition.Judge(body, a.MediaType)
	switch {
	case body.err != nil:
		return body.err
	case err != nil:
		return &Error{"parse", err}
	case !some && !exposition.IsNamed(a.ContentType):
		return &Error{"parse", errors.New("there is no sample in it")}
	}
	return nil
}

// erringReader remembers the error of its source.
type erringReader struct {
	src io.Reader
	err error
}

func (r *erringReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Read looks at the header of a response. The body of the answer is valid until the
// next call. An error is an *Error, or that of reading the body.
func (c *Client) Read(resp *http.Response) (Answer, error) {
	if resp.StatusCode != http.StatusOK {
		return Answer{}, &Error{"status", fmt.Errorf("server returned HTTP status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	}
	media, err := mediaType(c.target, resp.Header.Get("Content-Type"))
	if err != nil {
		return Answer{}, &Error{"content_type", err}
	}
	var body io.Reader = resp.Body
	// Like Prometheus's readResponse: what is not exactly gzip is read as it is. There
	// are exporters that send their type or charset in this header.
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = c.unzip(resp.Body); err != nil {
			return Answer{}, err
		}
	}
	if limit := int64(c.target.Job.BodySizeLimit); limit > 0 {
		body = &limitedReader{src: body, left: limit, limit: limit}
	}
	return Answer{body, media, resp.Header.Get("Content-Type")}, nil
}

// mediaType is the media type to read a target's answer as. Discovery has looked at the
// body of what it found by itself. So such a target need not send a Content-Type, as one
// that somebody wrote down has to, here and in Prometheus 3.
func mediaType(t *job.Target, contentType string) (string, error) {
	fallback := t.Job.ScrapeFallbackProtocol
	if fallback == "" && contentType == "" && t.Discovered.Has(job.LabelListenerNetNS) {
		fallback = exposition.PrometheusText0_0_4
	}
	return exposition.MediaType(contentType, fallback)
}

func (c *Client) unzip(body io.Reader) (io.Reader, error) {
	if c.gzip == nil {
		c.packed, c.gzip = bufio.NewReader(body), new(gzip.Reader)
	} else {
		c.packed.Reset(body)
	}
	err := c.gzip.Reset(c.packed)
	if errors.Is(err, io.EOF) { // not even a header
		err = io.ErrUnexpectedEOF
	}
	return &unzipped{c.gzip}, ofGzip(err)
}

// unzipped tells what is wrong with the packing from what is wrong with the connection.
type unzipped struct{ *gzip.Reader }

// Read implements io.Reader.
func (u *unzipped) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	return n, ofGzip(err)
}

func ofGzip(err error) error {
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	if corrupt || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return &Error{"encoding", err}
	}
	return err
}

// limitedReader fails when more than limit bytes are read through it.
type limitedReader struct {
	src         io.Reader
	left, limit int64
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, &Error{"body_size_limit", fmt.Errorf("body_size_limit of %d bytes exceeded", r.limit)}
	}
	return n, err
}
