package plugin

import (
	"hash/crc32"
	"testing"
)

func FuzzShiftBy(f *testing.F) {
	f.Add([]byte("123"), []byte("456789"))
	f.Add([]byte(""), []byte("a"))
	f.Add([]byte("a"), []byte(""))
	f.Add(make([]byte, 70_000), make([]byte, 131_071))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		want := crc32.ChecksumIEEE(append(append([]byte{}, a...), b...))
		got := multiply(shiftBy(len(b)), crc32.ChecksumIEEE(a)) ^ crc32.ChecksumIEEE(b)
		if got != want {
			t.Errorf("checksum of %d and %d bytes = %08x, want %08x", len(a), len(b), got, want)
		}
	})
}
