package exposition

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// What is judged to be an exposition, and is small, can be parsed to its end.
func FuzzJudge(f *testing.F) {
	f.Add("# TYPE a counter\na_total{b=\"c\"} 1\n# EOF\n", MediaOpenMetrics)
	f.Add("# HELP a b\na 1 2\n\x00", MediaText)
	f.Add("{\"a.b\",c=\"\n\"} NaN", MediaText)
	f.Add("\x05\x0a\x01a\x18\x01", MediaProto)
	f.Fuzz(func(t *testing.T, body, mediaType string) {
		if len(body) > pieceSize/2 || mediaType != MediaText && mediaType != MediaOpenMetrics && mediaType != MediaProto {
			return
		}
		some, err := Judge(strings.NewReader(body), mediaType)
		if err != nil && some {
			t.Fatalf("no exposition, but there is something in it: %v", err)
		}
		if err != nil {
			return
		}
		var r Reader
		r.Reset(strings.NewReader(body), mediaType, Options{})
		for {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("judged to be an exposition: %v", err)
			}
			for err == nil {
				_, err = p.Next()
			}
			if !errors.Is(err, io.EOF) {
				t.Fatalf("judged to be an exposition: %v", err)
			}
		}
	})
}

func TestMediaTypeOf(t *testing.T) {
	for text, want := range map[string]string{
		"a 1\n":           MediaText,
		"a 1":             MediaText,
		"":                MediaText,
		"a 1\n# EOF\n":    MediaOpenMetrics,
		"a 1\n# EOF":      MediaOpenMetrics,
		"# EOF\n":         MediaOpenMetrics,
		"a 1 # EOF\n":     MediaText,
		"# EOF\na 1\n":    MediaText,
		"a 1\n# EOFile\n": MediaText,
	} {
		if got := MediaTypeOf([]byte(text)); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
