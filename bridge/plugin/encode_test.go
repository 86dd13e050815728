package plugin

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\` + "\n\r\t\x00\x1f\x7f", "ünïcödé 語 🙂", "\xff\xc3", "\u2028", "a\xed\xa0\x80b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := appendString([]byte("x"), s)[1:]
		var got string
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%q is encoded as %s: %v", s, encoded, err)
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var reference string
		if err := json.Unmarshal(want, &reference); err != nil {
			t.Fatal(err)
		}
		if got != reference {
			t.Errorf("%q comes back as %q, from encoding/json as %q", s, got, reference)
		}
	})
}

func FuzzAppendNumber(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1.5, 1e-6, 9.999e-7, 1e20, 1e21, 9e16, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Skip("never gets that far")
		}
		encoded := appendNumber(nil, v)
		var got float64
		if err := json.Unmarshal(encoded, &got); err != nil || got != v {
			t.Errorf("%v is encoded as %s, and comes back as %v, %v", v, encoded, got, err)
		}
		if len(encoded) > 26 {
			t.Errorf("%v takes %d bytes: %s", v, len(encoded), encoded)
		}
	})
}

func FuzzAppendDate(f *testing.F) {
	f.Add(int64(0))
	f.Add(time.Date(2026, 11, 22, 12, 0, 0, 123_000_000, time.UTC).UnixNano())
	f.Add(int64(math.MaxInt64))
	f.Add(int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, at int64) {
		encoded := appendDate(nil, at)
		got, err := time.Parse(time.RFC3339Nano, strings.Trim(string(encoded), `"`))
		if err != nil || got.UnixNano() != at {
			t.Errorf("%d is encoded as %s, and comes back as %v, %v", at, encoded, got, err)
		}
	})
}
