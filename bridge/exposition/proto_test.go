package exposition

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/textparse"
	"google.golang.org/protobuf/encoding/protowire"
)

// checkProto runs the filter with every way to treat histograms.
func checkProto(t *testing.T, b []byte) {
	t.Helper()
	for way := range histogramWays {
		checkProtoWay(t, b, way)
	}
}

const histogramWays = 8

// checkProtoWay runs the filter with one way to treat histograms, for rules that want
// their classic series and for such that do not.
func checkProtoWay(t *testing.T, b []byte, way int) {
	t.Helper()
	options := textparse.ParserOptions{
		IgnoreNativeHistograms:                  way&1 != 0,
		ConvertClassicHistogramsToNHCB:          way&2 != 0,
		KeepClassicOnClassicAndNativeHistograms: way&4 != 0,
	}
	checkProtoWith(t, b, options, wantSome)
	checkProtoWith(t, b, options, wantSomeWhole)
}

// wantSomeWhole wants no series with one of the suffixes of classic histograms.
func wantSomeWhole(name []byte) bool {
	s := string(name)
	return wantSome(name) && !strings.HasSuffix(s, "_bucket") && !strings.HasSuffix(s, "_count") && !strings.HasSuffix(s, "_sum")
}

func checkProtoWith(t *testing.T, b []byte, options textparse.ParserOptions, want func([]byte) bool) {
	t.Helper()
	for _, size := range []struct{ window, read int }{{1, 1}, {64, 7}, {max(windowSize, len(b)), math.MaxInt}} {
		f := &protoFilter{}
		f.buf = make([]byte, size.window)
		f.reset(&slowReader{b, size.read}, options, want)
		if size.window < len(b) {
			// An odd family that is larger than the window is refused.
			if _, _, err := parseFiltered(f.next, &f.window, MediaProto, want, options); errors.Is(err, errFamily) {
				continue
			}
			f.reset(&slowReader{b, size.read}, options, want)
		}
		agree(t, b, f.next, &f.window, MediaProto, want, options)
	}
}

// message builds a protobuf message of fields.
type message []byte

func (m message) str(n protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, n, protowire.BytesType), s)
}

func (m message) num(n protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m message) double(n protowire.Number, v float64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, n, protowire.Fixed64Type), math.Float64bits(v))
}

func (m message) msg(n protowire.Number, sub message) message { return m.str(n, string(sub)) }

// delimited puts messages one after the other, each behind its length.
func delimited(ms ...message) (b []byte) {
	for _, m := range ms {
		b = append(protowire.AppendVarint(b, uint64(len(m))), m...)
	}
	return b
}

func gauge(labels ...string) message {
	var m message
	for i := 0; i < len(labels); i += 2 {
		m = m.msg(1, message{}.str(1, labels[i]).str(2, labels[i+1]))
	}
	return m.msg(2, message{}.double(1, 1))
}

func bucketed(native bool, bounds ...float64) message {
	h := message{}.num(1, 5).double(2, 7)
	for i, bound := range bounds {
		h = h.msg(3, message{}.num(1, uint64(i)).double(2, bound))
	}
	if native {
		h = h.msg(12, message{}.num(1, 0).num(2, 1)).num(13, 2)
	}
	return message{}.msg(7, h)
}

func protoTraps() map[string][]byte {
	sel, other := message{}.str(1, "sel").num(3, 1), message{}.str(1, "skip").num(3, 1)
	family := func(name string, kind uint64, metrics ...message) message {
		m := message{}.str(1, name).num(3, kind)
		for _, metric := range metrics {
			m = m.msg(4, metric)
		}
		return m
	}
	big := other
	for i := range 2000 {
		big = big.msg(4, gauge("i", fmt.Sprint(i)))
	}
	return map[string][]byte{
		"empty":            nil,
		"no metrics":       delimited(sel, other),
		"plain":            delimited(other.msg(4, gauge()), sel.msg(4, gauge("a", "b")), other.msg(4, gauge())),
		"name last":        delimited(message{}.num(3, 1).msg(4, gauge()).str(1, "sel"), message{}.num(3, 1).msg(4, gauge()).str(1, "skip")),
		"name twice":       delimited(other.str(1, "sel").msg(4, gauge()), sel.str(1, "skip").msg(4, gauge())),
		"big name twice":   delimited(big.str(1, "sel"), sel.msg(4, gauge())),
		"big":              delimited(big, sel.msg(4, gauge()), big),
		"no name":          delimited(message{}.num(3, 1).msg(4, gauge()), sel.msg(4, gauge())),
		"summary":          delimited(family("skip", 2, message{}.msg(4, message{}.num(1, 1).msg(3, message{}.double(1, .5))), message{}.msg(4, message{}))),
		"summary suffix":   delimited(family("xy", 2, message{}.msg(4, message{}.num(1, 1).msg(3, message{}.double(1, .5))))), // xy_sum has 6 bytes
		"wanted":           delimited(family("sel", 4, bucketed(false, 1, 2)), family("sum", 1), family("sem", 4, bucketed(true, 1), bucketed(false, 1)), sel.msg(4, gauge())),
		"histograms":       delimited(family("skip", 4, bucketed(false, 1, 2), bucketed(true, 1), bucketed(true), bucketed(false, 1, math.Inf(1)), bucketed(false, math.Inf(1), 7), message{})),
		"gauge histogram":  delimited(family("skip", 5, bucketed(false, 1)), family("se", 5, bucketed(true, 1))),
		"unknown type":     delimited(family("skip", 99, gauge()), sel.msg(4, gauge())),
		"late type":        delimited(message{}.str(1, "sel").msg(4, gauge()).num(3, 1)),
		"unknown fields":   delimited(other.str(77, "x").msg(4, gauge()), sel.num(78, 1).double(79, 2).msg(4, gauge())),
		"huge field":       delimited(append(other.msg(4, gauge()), 0xf8, 0xff, 0xff, 0xff, 0x1f, 1), sel.msg(4, gauge())),
		"group":            delimited(append(other.msg(4, gauge()), 11<<3|3, 1<<3, 5, 11<<3|4), sel.msg(4, gauge())),
		"bad metric":       delimited(other.str(4, "\xff\xff"), sel.msg(4, gauge())),
		"truncated length": append(delimited(sel.msg(4, gauge())), 0x80),
		"truncated family": delimited(sel.msg(4, gauge()), other.msg(4, gauge()))[:40],
		"long length":      append(delimited(sel.msg(4, gauge())), 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"overlong length":  {0x80, 0x80, 0x80, 0x80, 0x80, 0x00},
		"beyond the end":   {0xff, 0xff, 0xff, 0x7f, 1},
		"text":             []byte("# HELP sel x\nsel 1\n"),
	}
}

func TestProtoFilterAgreesOnTraps(t *testing.T) {
	for name, b := range protoTraps() {
		t.Run(name, func(t *testing.T) {
			checkProto(t, b)
		})
	}
}

func TestProtoFilterAgreesOnRecorded(t *testing.T) {
	for _, name := range []string{"node_exporter.pb", "prometheus.pb"} {
		b := recorded(t, name)
		checkProto(t, b)
		for i := range 25 { // truncated
			checkProtoWay(t, b[:len(b)*i/25], i%histogramWays)
		}
	}
}

func FuzzProto(f *testing.F) {
	for _, b := range protoTraps() {
		f.Add(b)
	}
	b := recorded(f, "prometheus.pb")
	f.Add(b[:6000])
	f.Fuzz(checkProto)
}
