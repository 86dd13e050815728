package discovery

import (
	"strings"
	"testing"
)

func TestIsExposition(t *testing.T) {
	for _, tc := range []struct {
		name, contentType, body string
		whole, want             bool
	}{
		{"text format", "text/plain; version=0.0.4", exposition, true, true},
		{"no version", "text/plain", exposition, true, true},
		{"no content type", "", exposition, true, true},
		{"OpenMetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", "# TYPE a counter\na_total 1 # {t=\"x\"} 1\n# EOF\n", true, true},
		{"odd but legal", "text/plain", "\n# a comment\na{b=\"c\"}\t+Inf 123\n{\"a.b\",c=\"}\"} NaN\n", true, true},
		{"cut", "text/plain", "metric 1\nmetri", false, true},
		{"cut in its first line", "text/plain", "metric", false, false},
		{"no newline at the end", "text/plain", "metric 1", true, true},
		{"nothing, of an exporter", "text/plain; version=0.0.4", "", true, true},
		{"nothing", "text/plain", "", true, false},
		{"comments alone", "text/plain", "# a shell script\n", true, false},
		{"html", "text/html", exposition, true, false},
		{"json", "application/json", "{\"a\": 1}", true, false},
		{"json as text", "text/plain", "{\"a\": 1}", true, false},
		{"prose", "text/plain", "Hello, world\n", true, false},
		{"prose like a metric", "text/plain", "metrics are at /metrics\n", true, false},
		{"an exposition, then prose", "text/plain", "metric 1\nand so on\n", true, false},
		{"binary", "text/plain; version=0.0.4", "metric 1\n\x00\n", true, false},
		{"not UTF-8", "text/plain; version=0.0.4", "metric 1\nb{c=\"\xff\"} 1\n", true, false},
		{"a content type that is none", "text/plain; =", exposition, true, false},
	} {
		if got := isExposition(tc.contentType, []byte(tc.body), tc.whole); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func FuzzIsExposition(f *testing.F) {
	f.Add("text/plain", []byte(exposition), true)
	f.Add("text/plain", []byte("metri"), false)
	f.Fuzz(func(t *testing.T, contentType string, head []byte, whole bool) {
		if isExposition(contentType, head, whole) && strings.ContainsRune(string(head[:max(0, strings.LastIndexByte(string(head), '\n'))]), 0) {
			t.Error("binary")
		}
	})
}
