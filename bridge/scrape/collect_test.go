package scrape

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// What an exposition out of the ordinary needs is not kept for the next ones, and
// what others need is.
func TestMemoryIsLetGo(t *testing.T) {
	huge := []byte("# TYPE sel counter\nsel{a=\"" + strings.Repeat("x", 1<<20) + "\"} 1\n")
	usual := synthetic(10_000)
	all := func([]byte) bool { return true }
	job := DefaultConfig(DefaultGlobal())
	kept := func(media string, body []byte) int {
		t.Helper()
		f, release := new(shared).borrow()
		filter, _ := f.choose(exposition{body: bytes.NewReader(body), media: media}, &job, all, nil)
		for {
			if _, err := filter.next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		release()
		return cap(f.text.out) + cap(f.text.buf) + cap(f.proto.out) + cap(f.proto.buf)
	}
	for media, bodies := range map[string][2][]byte{
		mediaText:  {huge, usual},
		mediaProto: {protobuf(t, huge), protobuf(t, usual)},
	} {
		if n := kept(media, bodies[0]); n > windowSize+maxKept {
			t.Errorf("%s: %d bytes are kept of %d", media, n, len(bodies[0]))
		}
		if n := kept(media, bodies[1]); n < windowSize+pieceSize {
			t.Errorf("%s: %d bytes are kept of the usual ones", media, n)
		}
	}
}
