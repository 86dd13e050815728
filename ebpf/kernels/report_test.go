package kernels

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const exporterAddress = "127.0.0.1:9100"

// startNodeExporter runs node_exporter until the test ends and returns its pid. Only the guests
// of TestMatrix have the binaries beside the tests.
func startNodeExporter(t *testing.T) int {
	t.Helper()
	for _, name := range []string{"./promscope", "./node_exporter"} {
		if _, err := os.Stat(name); err != nil {
			t.Skipf("TestMatrix runs this in virtual machines: %v", err)
		}
	}
	// What the test does not look at would only keep an emulated CPU busy.
	cmd := exec.CommandContext(t.Context(), "./node_exporter", "--web.listen-address="+exporterAddress,
		"--collector.disable-defaults", "--collector.cpu", "--collector.diskstats", "--collector.meminfo", "--collector.uname")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // it was killed
	})
	// Its first answers are slow on an emulated CPU, and promscope waits three seconds for one.
	for range 60 {
		begin := time.Now()
		if _, err := takeSample(); err == nil && time.Since(begin) < time.Second {
			return cmd.Process.Pid
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("node_exporter does not answer within a second: %s", log.String())
	return 0
}

// runPromscope returns what promscope writes to its standard output.
func runPromscope(t *testing.T, arguments ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./promscope", arguments...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, stdout.String(), stderr.String())
	}
	t.Logf("%v:\n%s", cmd.Args, stderr.String())
	return stdout.Bytes()
}

// TestBeside runs the doctor and makes a report beside a node_exporter: one after the other,
// for on an emulated CPU the start of either takes seconds.
func TestBeside(t *testing.T) {
	pid := startNodeExporter(t)
	t.Run("doctor", testDoctor)
	t.Run("report", func(t *testing.T) { testReport(t, pid) })
}

// testDoctor expects the doctor to find the kernel, the collectors and the exporter.
func testDoctor(t *testing.T) {
	var diagnosis struct {
		Findings []struct{ Check, Verdict, Finding string }
	}
	if err := json.Unmarshal(runPromscope(t, "doctor", "--json"), &diagnosis); err != nil {
		t.Fatal(err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kernel":             strings.TrimSpace(string(release)),
		"BTF":                "",
		"capabilities":       "",
		"collector iowait":   "works",
		"collector pressure": "works",
		"collector http":     "works",
		"collector wait":     "works",
		"collector disk":     "works",
		"collector tcp":      "works",
		"collector exits":    "works",
		"local endpoints":    exporterAddress + " (node_exporter)",
		"targets":            exporterAddress,
	}
	for _, f := range diagnosis.Findings {
		t.Logf("%s %s: %s", f.Verdict, f.Check, f.Finding)
		if part, ok := want[f.Check]; ok {
			delete(want, f.Check)
			// Those with one hook set warn where its programs can be preempted.
			preempted := strings.Contains(f.Finding, "can preempt a task") && (f.Check == "collector disk" || f.Check == "collector exits")
			if f.Verdict != "ok" && !preempted || !strings.Contains(f.Finding, part) {
				t.Errorf("%s is %s: %s; want %q", f.Check, f.Verdict, f.Finding, part)
			}
		}
	}
	for check := range want {
		t.Errorf("no finding about %s", check)
	}
}

// sample is what node_exporter and the kernel said at one time.
type sample struct {
	at     time.Time
	series map[string]float64 // of node_exporter
	cpu    [8]float64         // /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal
}

func takeSample() (sample, error) {
	s := sample{at: time.Now(), series: map[string]float64{}}
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get("http://" + exporterAddress + "/metrics")
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			if s.series[line[:at]], err = strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err != nil {
				return s, err
			}
		}
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s, err
	}
	for i, word := range strings.Fields(string(stat))[1:9] {
		if s.cpu[i], err = strconv.ParseFloat(word, 64); err != nil {
			return s, err
		}
	}
	return s, nil
}

// sum adds up an exporter's series whose name begins so.
func (s sample) sum(prefix string) float64 {
	total := 0.0
	for name, value := range s.series {
		if strings.HasPrefix(name, prefix) {
			total += value
		}
	}
	return total
}

// bounds are the least and the greatest value that something had.
type bounds struct{ least, greatest float64 }

func (b *bounds) add(value float64) {
	b.least, b.greatest = min(b.least, value), max(b.greatest, value)
}

// overSamples bounds a value of one sample.
func overSamples(samples []sample, value func(sample) float64) bounds {
	b := bounds{math.Inf(1), math.Inf(-1)}
	for _, s := range samples {
		b.add(value(s))
	}
	return b
}

// overWindows bounds a value of two samples that are some four seconds apart or more.
func overWindows(samples []sample, value func(a, b sample) float64) bounds {
	b := bounds{math.Inf(1), math.Inf(-1)}
	for i, first := range samples {
		for _, last := range samples[i:] {
			if last.at.Sub(first.at) > 3500*time.Millisecond {
				b.add(value(first, last))
			}
		}
	}
	return b
}

// waitForDisk reads from the guest's slow disk, one block after the other, until the test ends.
func waitForDisk(t *testing.T) {
	t.Helper()
	disk, err := os.OpenFile("/dev/vda", os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	block, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := unix.Pread(int(disk.Fd()), block, i%1024*4096); err != nil {
				done <- err
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
		disk.Close()
	})
}

// testReport compares a report with what node_exporter, whose pid is given, and the kernel said
// while it was made.
func testReport(t *testing.T, pid int) {
	waitForDisk(t)
	config := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(config, []byte(`global: {scrape_interval: 5s}
scrape_configs: [{job_name: local, listener_sd_configs: [{ports: [9090-9999]}]}]
collectors: {http: {own_requests: true}}
presets: {include: [http, client_golang, client_golang/full, process, node_exporter]}
`), 0o600); err != nil {
		t.Fatal(err)
	}

	var (
		samples  []sample
		sampling sync.WaitGroup
		stop     = make(chan struct{})
	)
	sampling.Go(func() {
		for more := true; more; {
			select {
			case <-stop:
				more = false
			case <-time.After(time.Second):
			}
			s, err := takeSample()
			if err != nil {
				t.Error(err)
			}
			samples = append(samples, s)
		}
	})
	text := runPromscope(t, "report", "--config.file="+config, "--duration=20s")
	close(stop)
	sampling.Wait()

	type nodes struct {
		Nodes map[string]struct {
			Metrics map[string]struct{ Samples []struct{ Value float64 } }
		}
	}
	var report struct{ Host, Process nodes }
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	// checkMean compares the mean of the last n samples. Rates of a collector are of one second
	// each: five of them are the rate of five seconds, which a slow guest's samples can tell.
	checkMean := func(topology nodes, id, metric string, n int, want bounds, tolerance float64) {
		t.Helper()
		samples := topology.Nodes[id].Metrics[metric].Samples
		if len(samples) < n {
			t.Errorf("%s has %d samples of %s, want %d", id, len(samples), metric, n)
			return
		}
		got := 0.0
		for _, s := range samples[len(samples)-n:] {
			got += s.Value / float64(n)
		}
		t.Logf("%s %s: %.4g; want %.4g to %.4g", id, metric, got, want.least, want.greatest)
		if math.IsNaN(got) || got < want.least-tolerance || got > want.greatest+tolerance {
			t.Errorf("%s %s: %g; want %g to %g", id, metric, got, want.least, want.greatest)
		}
	}

	check := func(topology nodes, id, metric string, want bounds, tolerance float64) {
		t.Helper()
		checkMean(topology, id, metric, 1, want, tolerance)
	}

	host := hostname + ";<host>"
	share := func(mode int) func(a, b sample) float64 {
		return func(a, b sample) float64 {
			whole := 0.0
			for i := range a.cpu {
				whole += b.cpu[i] - a.cpu[i]
			}
			return 100 * (b.cpu[mode] - a.cpu[mode]) / whole
		}
	}
	if iowait := share(4)(samples[0], samples[len(samples)-1]); iowait < 5 {
		t.Errorf("there is no iowait to compare with: %g %%", iowait)
	}
	checkMean(report.Host, host, "promscope_cpu_iowait", 5, overWindows(samples, share(4)), 3)
	check(report.Host, host, "promscope_node_memory_available", overSamples(samples, func(s sample) float64 {
		return 100 * s.series["node_memory_MemAvailable_bytes"] / s.series["node_memory_MemTotal_bytes"]
	}), 1)
	check(report.Host, host, "promscope_node_disk_latency_vda", overWindows(samples, func(a, b sample) float64 {
		reads := b.series[`node_disk_reads_completed_total{device="vda"}`] - a.series[`node_disk_reads_completed_total{device="vda"}`]
		return 1000 * (b.series[`node_disk_read_time_seconds_total{device="vda"}`] - a.series[`node_disk_read_time_seconds_total{device="vda"}`]) / reads
	}), 2)

	exporter := fmt.Sprintf("%s;%d", hostname, pid)
	check(report.Process, exporter, "promscope_go_threads", overSamples(samples, func(s sample) float64 {
		return s.series["go_threads"]
	}), 1)
	check(report.Process, exporter, "promscope_process_fds_used", overSamples(samples, func(s sample) float64 {
		return 100 * s.series["process_open_fds"] / s.series["process_max_fds"]
	}), 1)
	// A rate within a window of seconds is off by the requests at its ends.
	checkMean(report.Process, exporter, "promscope_http_requests", 5, overWindows(samples, func(a, b sample) float64 {
		const served = "promhttp_metric_handler_requests_total"
		return (b.sum(served) - a.sum(served)) / b.at.Sub(a.at).Seconds()
	}), 1)
	for id, node := range report.Process.Nodes {
		if _, ok := node.Metrics["promscope_http_requests"]; ok && id != exporter {
			t.Errorf("%s, which serves nothing, has promscope_http_requests", id)
		}
	}
}
