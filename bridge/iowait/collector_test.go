package iowait

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
)

// stat is a /proc/stat of one CPU. Times are in ticks of 10 ms.
func stat(idle, iowait int) string {
	times := fmt.Sprintf("1000 200 300 %d %d 10 20 30 500 60", idle, iowait)
	return "cpu  " + times + "\ncpu0 " + times + "\nbtime 1700000000\n"
}

func newCollector(t *testing.T, content string) (*Collector, func(string)) {
	t.Helper()
	root := t.TempDir()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "stat"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(content)
	c, err := newCollectorAt(root, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return c, write
}

func TestCollect(t *testing.T) {
	c, _ := newCollector(t, stat(8000, 400))
	const want = `
# HELP promscope_cpu_seconds_total Time that each CPU spent in each mode.
# TYPE promscope_cpu_seconds_total counter
promscope_cpu_seconds_total{cpu="0",mode="idle"} 80
promscope_cpu_seconds_total{cpu="0",mode="iowait"} 4
promscope_cpu_seconds_total{cpu="0",mode="irq"} 0.1
promscope_cpu_seconds_total{cpu="0",mode="nice"} 2
promscope_cpu_seconds_total{cpu="0",mode="softirq"} 0.2
promscope_cpu_seconds_total{cpu="0",mode="steal"} 0.3
promscope_cpu_seconds_total{cpu="0",mode="system"} 3
promscope_cpu_seconds_total{cpu="0",mode="user"} 10
# HELP promscope_host_cpu_seconds_total Time that all CPUs of the host together spent in each mode.
# TYPE promscope_host_cpu_seconds_total counter
promscope_host_cpu_seconds_total{mode="idle"} 80
promscope_host_cpu_seconds_total{mode="iowait"} 4
promscope_host_cpu_seconds_total{mode="irq"} 0.1
promscope_host_cpu_seconds_total{mode="nice"} 2
promscope_host_cpu_seconds_total{mode="softirq"} 0.2
promscope_host_cpu_seconds_total{mode="steal"} 0.3
promscope_host_cpu_seconds_total{mode="system"} 3
promscope_host_cpu_seconds_total{mode="user"} 10
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// value gathers and returns the host's seconds in one mode.
func value(t *testing.T, c *Collector, mode string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "promscope_host_cpu_seconds_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == mode {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no mode %q", mode)
	return 0
}

func TestCountersNeverFall(t *testing.T) {
	c, write := newCollector(t, stat(8000, 400))
	for _, step := range []struct {
		name         string
		idle, iowait int
		wantIdle     float64
		wantIowait   float64
	}{
		{"first reading", 8000, 400, 80, 4},
		{"iowait falls by two ticks: stands still", 8100, 398, 81, 4},
		{"iowait has caught up", 8200, 405, 82, 4.05},
		{"idle falls by a tick: stands still", 8199, 410, 82, 4.1},
		{"CPU came back online: begins again", 100, 5, 1, 0.05},
	} {
		write(stat(step.idle, step.iowait))
		if got := value(t, c, "idle"); got != step.wantIdle {
			t.Errorf("%s: idle %v, want %v", step.name, got, step.wantIdle)
		}
		if got := value(t, c, "iowait"); got != step.wantIowait {
			t.Errorf("%s: iowait %v, want %v", step.name, got, step.wantIowait)
		}
	}
}

func TestOfflineCPUVanishes(t *testing.T) {
	c, write := newCollector(t, "cpu  2 2 2 2 2 2 2 2 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n")
	if got := testutil.CollectAndCount(c, "promscope_cpu_seconds_total"); got != 2*8 {
		t.Errorf("%d series of two CPUs", got)
	}
	write("cpu  2 2 2 2 2 2 2 2 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if got := testutil.CollectAndCount(c, "promscope_cpu_seconds_total"); got != 8 {
		t.Errorf("%d series of one CPU", got)
	}
}

func TestErrors(t *testing.T) {
	if _, err := newCollectorAt(filepath.Join(t.TempDir(), "none"), promslog.NewNopLogger()); err == nil {
		t.Error("a missing root is no error")
	}
	c, write := newCollector(t, stat(1, 1))
	write("cpu  one two\n")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "reading CPU times") {
		t.Errorf("gathering a broken /proc/stat: %v", err)
	}
}

// The machine's own /proc/stat: all CPUs together are what they are one by one.
func TestRealProc(t *testing.T) {
	c, err := newCollectorAt("/proc", promslog.NewNopLogger())
	if err != nil {
		t.Skip(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			sums[family.GetName()] += m.GetCounter().GetValue()
		}
	}
	host, cpus := sums["promscope_host_cpu_seconds_total"], sums["promscope_cpu_seconds_total"]
	if host <= 0 || cpus <= 0 || cpus > host*1.01 {
		t.Errorf("host %v s, CPUs %v s", host, cpus)
	}
}

func BenchmarkCollect(b *testing.B) {
	c, err := newCollectorAt("/proc", promslog.NewNopLogger())
	if err != nil {
		b.Skip(err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
