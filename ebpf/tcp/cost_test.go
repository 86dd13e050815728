package tcp

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// BenchmarkConnection makes a connection, accepts it, and closes both ends.
func BenchmarkConnection(b *testing.B) {
	b.Run("without", connections)
	b.Run("with", func(b *testing.B) {
		c := start(b, "")
		connections(b)
		if stats, err := c.Programs.Collection.Programs["on_state"].Stats(); err == nil && stats.RunCount > 0 {
			// kernel.bpf_stats_enabled is 1
			b.ReportMetric(float64(stats.Runtime.Nanoseconds())/float64(stats.RunCount), "ns/run")
			b.ReportMetric(float64(stats.RunCount)/float64(b.N), "runs/op")
		}
	})
}

func connections(b *testing.B) {
	a := &actor{}
	port, err := a.listen(128, unix.IPPROTO_TCP)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(a.listener)
	began := cpuTime(b)
	defer func() { b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op") }()
	for b.Loop() {
		if err := a.connect(port, 0, "hold"); err != nil {
			b.Fatal(err)
		}
		if _, err := a.accept(1, "hold"); err != nil {
			b.Fatal(err)
		}
		if _, err := a.act([]string{"close"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGather gathers beside as many connections more as PROMSCOPE_TEST_CONNECTIONS says;
// each has two sockets.
func BenchmarkGather(b *testing.B) {
	c := start(b, "")
	n, _ := strconv.Atoi(os.Getenv("PROMSCOPE_TEST_CONNECTIONS")) // none if it says nothing
	a := &actor{}
	port, err := a.listen(128, unix.IPPROTO_TCP)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(a.listener)
	for range n {
		if err := a.connect(port, 0, "hold"); err != nil {
			b.Fatal(err)
		}
		if _, err := a.accept(1, "hold"); err != nil {
			b.Fatal(err)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	began := cpuTime(b)
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(loadtest.Gather(b, c)[prefix+"sockets"][0].GetGauge().GetValue(), "sockets")
	if _, err := a.act([]string{"close"}); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what this process has taken of the CPUs.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
