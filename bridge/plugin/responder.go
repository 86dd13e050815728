package plugin

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// runBytes is how much of a report is written at a time. A unix socket hands over
// each write by itself: at 128 KiB instead of 10, reader and writer take turns less
// often, and a megabyte is through in half the time.
const runBytes = 128 << 10

// responder is what answering takes besides an edition, and spares allocations: the
// values of headers that never change, and buffers.
type responder struct {
	contentType, gzip, vary []string
	writers                 sync.Pool // of *bufio.Writer
}

func newResponder() *responder {
	return &responder{
		contentType: []string{"application/json"},
		gzip:        []string{"gzip"},
		vary:        []string{"Accept-Encoding"},
		writers:     sync.Pool{New: func() any { return bufio.NewWriterSize(nil, runBytes) }},
	}
}

// serve answers a poll, and returns the number of bytes that the client has taken,
// 0 if not all. The length is set, and nothing follows the last }, for otherwise
// the probe would dial anew each second.
func (r *responder) serve(e *edition, w http.ResponseWriter, request *http.Request) (int, error) {
	chosen := &e.plain
	header := w.Header()
	header["Content-Type"] = r.contentType
	header["Vary"] = r.vary
	if acceptsGzip(request.Header["Accept-Encoding"]) {
		chosen = &e.gzipped
		header["Content-Encoding"] = r.gzip
	}
	header["Content-Length"] = chosen.contentLength
	w.WriteHeader(http.StatusOK)
	if request.Method == http.MethodHead {
		return 0, nil
	}
	out := r.writers.Get().(*bufio.Writer)
	defer r.writers.Put(out)
	out.Reset(w)
	defer out.Reset(nil)
	for _, piece := range chosen.pieces {
		_, _ = out.Write(piece) // an error stays until Flush
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	return chosen.bytes, nil
}

// acceptsGzip reports whether an Accept-Encoding header names gzip.
func acceptsGzip(values []string) bool {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			coding, parameters, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				return !refuses(parameters)
			}
		}
	}
	return false
}

// refuses reports whether the parameters of a coding give it a weight of zero.
func refuses(parameters string) bool {
	weight, found := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
	if !found {
		return false
	}
	q, err := strconv.ParseFloat(weight, 64)
	return err == nil && q == 0
}
