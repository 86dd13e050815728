package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/prometheus/model/textparse"
)

// maxJudged is how much of a body is looked at to tell whether it is an exposition.
// Protobuf needs a family as a whole for that.
const maxJudged = maxLine

// Judge tells whether a body of a media type is an exposition, by its beginning: it
// parses the first piece as a scrape would that wants all of it. It returns whether there
// is anything in it, samples or a # TYPE line. An exporter may have nothing to say, but a
// script that consists of comments says nothing either. Judge does not read the body to
// its end.
func Judge(body io.Reader, mediaType string) (some bool, err error) {
	var r Reader
	r.Reset(io.LimitReader(body, maxJudged), mediaType, Options{})
	p, err := r.Next()
	switch {
	case errors.Is(err, io.EOF):
		return len(r.text.typ) > 0, nil
	case err != nil:
		return false, err
	case r.text.verbatim:
		return false, errBinary
	}
	for {
		kind, err := p.Next()
		switch {
		case errors.Is(err, io.EOF):
			return some, nil
		case err != nil:
			return false, fmt.Errorf("parsing: %w", err)
		case kind != textparse.EntryComment:
			some = true
		}
	}
}

// MediaTypeOf returns the media type of a whole text that came without a Content-Type,
// out of a file.
func MediaTypeOf(text []byte) string {
	if text = bytes.TrimRight(text, "\n"); bytes.Equal(text, []byte(eof)) || bytes.HasSuffix(text, []byte("\n"+eof)) {
		return MediaOpenMetrics
	}
	return MediaText
}
