// Package loadtest starts collectors whose programs run in the kernel, for tests, and looks at
// what they serve.
package loadtest

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// Environment is what a collector is given that is gathered at that interval.
func Environment(interval time.Duration) collector.Environment {
	return collector.Environment{Interval: interval, Logger: slog.New(slog.DiscardHandler), Types: btf.NewCache()}
}

// Required reports whether the environment says that the hook set, or with "" any, must work
// here: PROMSCOPE_REQUIRE_HOOKS names some, with commas between, and PROMSCOPE_REQUIRE_BPF is
// 1.
func Required(hookSet string) bool {
	if hookSet == "" {
		return os.Getenv("PROMSCOPE_REQUIRE_BPF") == "1"
	}
	return slices.Contains(strings.Split(os.Getenv("PROMSCOPE_REQUIRE_HOOKS"), ","), hookSet)
}

// Started returns the collector that was started with a hook set, or with "" any, and closes it
// when the test ends. Where the machine does not allow it, the test skips, unless it is
// Required.
func Started(tb testing.TB, hookSet string, c *load.Collector, err error) *load.Collector {
	tb.Helper()
	Require(tb, Required(hookSet), err)
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Require goes on without an error. With one that says that the machine does not allow
// something the test skips, unless that is required. Any other fails the test, and so does what
// the verifier says of a program.
func Require(tb testing.TB, required bool, err error) {
	tb.Helper()
	var (
		verifier *ebpf.VerifierError
		known    *collector.Error
	)
	switch {
	case err == nil:
	case errors.As(err, &verifier) && !errors.Is(err, unix.EPERM):
		tb.Fatalf("%+v", verifier)
	case required:
		tb.Fatalf("must work here, says the environment: %v", err)
	case errors.As(err, &known), errors.Is(err, unix.EPERM), errors.Is(err, ebpf.ErrNotSupported):
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}

// Gather returns the collector's series by the names of their families.
func Gather(tb testing.TB, c prometheus.Collector) map[string][]*dto.Metric {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	all := map[string][]*dto.Metric{}
	for _, f := range families {
		all[f.GetName()] = f.GetMetric()
	}
	return all
}

// Find returns the first series that has the label, nil if there is none.
func Find(series []*dto.Metric, label, value string) *dto.Metric {
	for _, m := range series {
		if Label(m, label) == value {
			return m
		}
	}
	return nil
}

// Label returns the value of a series's label, "" if it has none.
func Label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// Verified reports what the verifier and the compiler make of the programs. The test fails if
// the verifier goes through more instructions of one than most: it gives up after a million.
func Verified(t *testing.T, c *load.Collector, most uint32) {
	t.Helper()
	for name, program := range c.Programs.Collection.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		size, err := info.JitedSize()
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
		verified, ok := info.VerifiedInstructions()
		if !ok {
			t.Logf("%s: the kernel does not tell the instructions verified; %d bytes of machine code", name, size)
			continue
		}
		t.Logf("%s: %d instructions verified, %d bytes of machine code", name, verified, size)
		if verified > most {
			t.Errorf("%s takes the verifier %d instructions", name, verified)
		}
	}
}
