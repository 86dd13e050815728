package http

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// The parsers alone, for their unit tests.

//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/parse_test.bpf.c -o parse_test.bpf.o
//go:generate llvm-strip-19 -g parse_test.bpf.o

//go:embed parse_test.bpf.o
var parser []byte

const headBytes = 12

// head is the start of a message, as parse.h has it.
type head struct {
	Low   uint64
	High  uint32
	Bytes uint32
}

func headOf(s string) head {
	s = s[:min(len(s), headBytes)]
	var b [16]byte
	copy(b[:], s)
	return head{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:]), uint32(len(s))}
}

// parseContext is what the program parse reads and writes.
type parseContext struct {
	Head    head
	Status  int32
	Scanned int32
}

// newParser returns the parsers as they run in the kernel: that of a head, and that of a stream's bytes.
func newParser(t testing.TB) func(text string) (status, scanned int32, err error) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(parser))
	if err != nil {
		t.Fatal(err)
	}
	collection, err := ebpf.NewCollection(spec)
	if errors.Is(err, unix.EINVAL) {
		t.Skip("this kernel runs no programs for tests: SEC(\"syscall\") is of 5.14:", err)
	}
	loadtest.Require(t, loadtest.Required(""), err)
	t.Cleanup(func() { collection.Close() })
	return func(text string) (int32, int32, error) {
		var out parseContext
		_, err := collection.Programs["parse"].Run(&ebpf.RunOptions{Context: parseContext{Head: headOf(text)}, ContextOut: &out})
		return out.Status, out.Scanned, err
	}
}

func TestParseStatus(t *testing.T) {
	parse := newParser(t)
	for head, want := range map[string]int32{
		"HTTP/1.1 200 OK":   200,
		"HTTP/1.0 404 Nope": 404,
		"HTTP/1.1 100":      100,
		"HTTP/1.1 999":      999,
		"HTTP/1.1 101\r\n":  101,
		"H":                 -1,
		"HTTP/1.":           -1,
		"HTTP/1.1":          -1,
		"HTTP/1.1 20":       -1,
		"":                  0,
		"HTTP/1.2 200 OK":   0,
		"HTTP/2.0 200 OK":   0,
		"HTTP/1.1200 OK ":   0,
		"HTTP/1.1 020 OK":   0,
		"HTTP/1.1 2x0 OK":   0,
		"HTTP/1.1 20  OK":   0,
		"HTTP/1.1 \xff00":   0,
		"http/1.1 200 OK":   0,
		"XTTP":              0,
		"HTTP/1.x":          0,
		"SIP/2.0 200 OK":    0,
		"GET / HTTP/1.1":    0,
	} {
		if got, scanned, err := parse(head); err != nil || got != want || scanned != want {
			t.Errorf("%q: status %d, by bytes %d, %v, want %d", head, got, scanned, err, want)
		}
	}
}
