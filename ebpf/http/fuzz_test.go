package http

import (
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// bytesSource makes each decision of a generator out of a byte, so that a fuzzer changes
// sequences bit by bit. After the last byte, what comes after is always the same.
type bytesSource struct {
	left  []byte
	after *rand.PCG
}

// Uint64 implements rand.Source. Its users take the upper or the lower bits.
func (s *bytesSource) Uint64() uint64 {
	if len(s.left) == 0 {
		return s.after.Uint64()
	}
	b := s.left[0]
	s.left = s.left[1:]
	return uint64(b) * 0x0101010101010101
}

// FuzzDialogue plays sequences as TestRandom does, through the programs in the kernel.
// Go's engine sees only which messages were made: what it finds are sequences of all
// shapes.
func FuzzDialogue(f *testing.F) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { listener.Close() })
	c := newCollector(f, Options{Ports: only(f, listener.Addr().String())})
	f.Add([]byte{})
	for seed := range uint64(16) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := make([]byte, 64<<(seed%4))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, decisions []byte) {
		g := &generator{Rand: rand.New(&bytesSource{decisions, rand.NewPCG(0, 0)})}
		if problem := g.play(t, c, listener); problem != "" {
			t.Fatalf("%s\n%s", problem, strings.Join(g.log, "\n"))
		}
	})
}

// FuzzStatus holds the parser in the kernel against the grammar of a status line
// (RFC 9112, section 4).
func FuzzStatus(f *testing.F) {
	parse := newParser(f)
	for _, s := range []string{"HTTP/1.1 200 OK", "HTTP/1.0 404", "HTTP/1.1 2", "HTTP/2 200", "GET / HTTP/1.1", "HTTP/1.1 099", ""} {
		f.Add(s)
	}
	status := regexp.MustCompile(`^HTTP/1\.[01] ([1-9][0-9]{2})`)
	// The digits are looked at when all are there.
	partial := regexp.MustCompile(`^(H|HT|HTT|HTTP|HTTP/|HTTP/1|HTTP/1\.|HTTP/1\.[01]|(?s:HTTP/1\.[01] .{0,2}))$`)
	f.Fuzz(func(t *testing.T, text string) {
		want := 0
		if m := status.FindStringSubmatch(text); m != nil {
			want, _ = strconv.Atoi(m[1])
		} else if len(text) < headBytes && partial.MatchString(text) {
			want = -1
		}
		if got, _, err := parse(text); err != nil || got != int32(want) {
			t.Errorf("%q: status %d, %v, want %d", text, got, err, want)
		}
	})
}
