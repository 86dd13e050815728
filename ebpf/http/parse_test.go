package http

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The parser alone, for its unit tests.

//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/parse_test.bpf.c -o parse_test.bpf.o
//go:generate llvm-strip-19 -g parse_test.bpf.o

//go:embed parse_test.bpf.o
var parser []byte

// The verdicts of parse.h.
const (
	notHTTP = iota
	partial
	isRequest
	isHead
	isConnect
)

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
	First, Second head
	Verdict       uint32
	Status        int32
	Joined        head
}

// newParser returns the parser as it runs in the kernel.
func newParser(t *testing.T) func(first, second string) parseContext {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(parser))
	if err != nil {
		t.Fatal(err)
	}
	collection, err := ebpf.NewCollection(spec)
	if errors.Is(err, unix.EINVAL) {
		t.Skip("this kernel runs no programs for tests: SEC(\"syscall\") is of 5.14:", err)
	}
	requireBPF(t, required(""), err)
	t.Cleanup(func() { collection.Close() })
	return func(first, second string) parseContext {
		t.Helper()
		in := parseContext{First: headOf(first), Second: headOf(second)}
		var out parseContext
		if _, err := collection.Programs["parse"].Run(&ebpf.RunOptions{Context: in, ContextOut: &out}); err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestParseRequest(t *testing.T) {
	parse := newParser(t)
	for head, want := range map[string]uint32{
		"GET / HTTP/1.1":          isRequest,
		"GET ":                    isRequest,
		"POST /a HTTP/1.1":        isRequest,
		"PUT x":                   isRequest,
		"DELETE /":                isRequest,
		"PROPFIND /":              isRequest,
		"M-SEARCH * HTTP/1.1":     isRequest,
		"VERSION-CONTROL /":       isRequest,
		"HEAD / HTTP/1.1":         isHead,
		"CONNECT a:443 HTTP/1.1":  isConnect,
		"":                        partial,
		"G":                       partial,
		"GET":                     partial,
		"HEAD":                    partial,
		"CONNECT":                 partial,
		"PRI * HTTP/2.0":          notHTTP,
		"get / HTTP/1.1":          notHTTP,
		"Get /":                   notHTTP,
		"GE /":                    notHTTP,
		" GET /":                  notHTTP,
		"GET/ HTTP":               notHTTP,
		"GET\x00 / ":              notHTTP,
		"PING\r\n":                notHTTP,
		"\x16\x03\x01\x02\x00":    notHTTP,
		"HTTP/1.1 200 OK":         notHTTP,
		"\r\nGET / HTTP/1.1":      notHTTP, // empty lines are skipped before
		"*3\r\n$3\r\nSET":         notHTTP,
		strings.Repeat("\x00", 8): notHTTP,
	} {
		if got := parse(head, "").Verdict; got != want {
			t.Errorf("%q: verdict %d, want %d", head, got, want)
		}
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
		if got := parse(head, "").Status; got != want {
			t.Errorf("%q: status %d, want %d", head, got, want)
		}
	}
}

// TestParseJoined cuts heads in two everywhere: together they have to say what the whole says.
func TestParseJoined(t *testing.T) {
	parse := newParser(t)
	random := rand.New(rand.NewPCG(1, 2))
	heads := []string{"HTTP/1.1 503 Service Unavailable", "GET / HTTP/1.1", "PROPFIND / HTTP/1.1", "HTTP/1.1", "short"}
	for range 200 {
		b := make([]byte, random.IntN(20))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		heads = append(heads, string(b))
	}
	for _, whole := range heads {
		want := parse(whole, "")
		for at := 1; at < min(len(whole), headBytes); at++ {
			got := parse(whole[:at], whole[at:])
			if got.Joined != headOf(whole) || got.Verdict != want.Verdict || got.Status != want.Status {
				t.Errorf("%q cut at %d: %+v, want %+v", whole, at, got, want)
			}
		}
	}
}
