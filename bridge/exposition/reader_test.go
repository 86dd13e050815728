package exposition

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// The memory that an unusual exposition needs is not kept for the next ones, and what
// others need is.
func TestMemoryIsLetGo(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for mediaType, bodies := range map[string][2][]byte{
		MediaText:  {[]byte("sel{a=\"" + long + "\"} 1\n"), recorded(t, "prometheus.txt")},
		MediaProto: {delimited(message{}.str(1, "sel").num(3, 1).msg(4, gauge("a", long))), recorded(t, "prometheus.pb")},
	} {
		kept := func(body []byte) int {
			r := new(Reader)
			r.Reset(bytes.NewReader(body), mediaType, Options{WantName: func([]byte) bool { return true }})
			for {
				if _, err := r.Next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if r.Size() != int64(len(body)) {
				t.Errorf("%s: read %d bytes of %d", mediaType, r.Size(), len(body))
			}
			r.Release()
			return cap(r.text.out) + cap(r.text.buf) + cap(r.proto.out) + cap(r.proto.buf)
		}
		if n := kept(bodies[0]); n > windowSize+maxKept {
			t.Errorf("%s: %d bytes are kept of %d", mediaType, n, len(bodies[0]))
		}
		if n := kept(bodies[1]); n < windowSize+pieceSize {
			t.Errorf("%s: %d bytes are kept of the usual ones", mediaType, n)
		}
	}
}
