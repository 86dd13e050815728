package exposition

import (
	"bytes"
	"errors"
	"fmt"
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

// Of a text whose beginning is handed on as a whole the rest is filtered, and what is not
// wanted of the beginning is known by its name.
func TestWholeStart(t *testing.T) {
	body := "a 1\na_b{x=\"1\"} 2\n{\"q.r\"} 3\nsel 4\n" + strings.Repeat("other 1\n", pieceSize/8) + "a 5\nsel 6\n"
	for mediaType, end := range map[string]string{MediaText: "", MediaOpenMetrics: "# EOF\n"} {
		var r Reader
		r.Reset(strings.NewReader(body+end), mediaType, Options{WantName: func(name []byte) bool { return string(name) == "sel" }, WholeStart: true})
		var wanted []string
		n := 0
		for {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := p.Next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				n++
				if series, _, value := p.Series(); r.Wants(series) {
					wanted = append(wanted, fmt.Sprintf("%s %v", series, value))
				}
			}
		}
		if got, want := strings.Join(wanted, ", "), `{"q.r"} 3, sel 4, sel 6`; got != want {
			t.Errorf("%s: wanted are %s, want %s", mediaType, got, want)
		}
		if n <= pieceSize/8 || r.Skipped() == 0 || n+r.Skipped() != pieceSize/8+6 {
			t.Errorf("%s: %d samples parsed, %d skipped", mediaType, n, r.Skipped())
		}
	}
}
