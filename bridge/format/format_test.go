package format

import (
	"math"
	"strings"
	"testing"
	"time"
)

// moment is now.
var moment = time.Date(2026, 11, 22, 14, 3, 27, 250e6, time.UTC)

func TestFormats(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Seconds(0), "0 s"},
		{Seconds(0.0000004), "0.4 µs"},
		{Seconds(0.00031), "310 µs"},
		{Seconds(0.0087), "8.7 ms"},
		{Seconds(0.9996), "1.0 s"},
		{Seconds(5), "5 s"},
		{Seconds(61.4), "61 s"},
		{Seconds(250), "4.2 min"},
		{Seconds(11520), "3.2 h"},
		{Seconds(864000), "10 d"},
		{Ago(moment, time.Time{}), "never"},
		{Ago(moment, moment), "now"},
		{Ago(moment, moment.Add(-380*time.Millisecond)), "0.4 s ago"},
		{Ago(moment, moment.Add(2*time.Second)), "in 2 s"},
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(1536), "1.5 KiB"},
		{Bytes(7.5e8), "715 MiB"},
		{Bytes(-2048), "-2.0 KiB"},
		{Count(0), "0"},
		{Count(-1234567), "-1,234,567"},
		{Count(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{Number(0), "0"},
		{Number(12288), "12,288"},
		{Number(-98765.4), "-98,765"},
		{Number(4127.61), "4127.6"},
		{Number(3.14159), "3.142"},
		{Number(0.00001234), "1.234e-05"},
		{Number(1e18), "1e+18"},
		{Number(math.NaN()), "NaN"},
		{Number(math.Inf(-1)), "-Inf"},
		// As Scope cuts them.
		{Metric("percent", 1.999), "1.99%"},
		{Metric("", 0.0042), "0"},
		{Metric("", 1099), "1099"},
		{Metric("", 1234567), "1.23M"},
		{Metric("integer", 42), "42"},
		{Metric("filesize", 2048), "2.0 KiB"},
		{Printable("a\x1b[2J\r\u009b\tb\nc\u00e9"), "a\ufffd[2J\ufffd\ufffd\tb\nc\u00e9"},
		{Printable("\u202a\u202e\u2066\u2069\u200f"), "\ufffd\ufffd\ufffd\ufffd\ufffd"},
		{Plural(1, "series", "series"), "1 series"},
		{Plural(1200, "rule", "rules"), "1,200 rules"},
	} {
		if got := strings.ReplaceAll(test.got, "\u00a0", " "); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
