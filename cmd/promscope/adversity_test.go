package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

var stopped = flag.Duration("stopped", 10*time.Second, "how long TestStopped stops promscope")

// steady is an exporter whose counter grows by ten a second. It says of which moment its
// values are: no delay makes a rate wrong.
func steady(t *testing.T) *exporter {
	began := time.Now()
	e := newExporter(t, "")
	e.serve = func() string {
		now := time.Now().Truncate(time.Millisecond)
		return fmt.Sprintf("# TYPE steady_total counter\nsteady_total %f %d\n", 10*now.Sub(began).Seconds(), now.UnixMilli())
	}
	return e
}

// steadyConfig has rules whose values are known: the counter grows by 10 a second, and each
// CPU spends at most a second a second.
func steadyConfig(t *testing.T) string {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	return noPresets + fmt.Sprintf(`
global: {scrape_interval: 1s}
collectors: {http: {enabled: false}}
scrape_configs: [{job_name: steady, static_configs: [{targets: ["%s"]}]}]
rules:
  - {metric: rate, label: Rate, expr: "irate(steady_total[$__rate_interval])", node: host}
  - {metric: cpu, label: CPU seconds, expr: "sum(irate(promscope_host_cpu_seconds_total[$__rate_interval])) / %d", node: host}
  - {metric: goroutines, label: Goroutines, expr: 'go_goroutines{job="promscope"}', node: {process: target_pid}}
`, steady(t).address(), strings.Count(string(stat), "\ncpu"))
}

// judge returns an error while not all of steadyConfig's metrics are in the report, and
// fails if one is there and wrong.
func judge(t *testing.T, p *plugin, r *probetest.Report) error {
	t.Helper()
	var missing error
	for metric, right := range map[string]func(float64) bool{
		"rate": func(v float64) bool { return math.Abs(v-10) < 0.01 },
		"cpu":  func(v float64) bool { return v > 0 && v < 2 }, // /proc/stat is read a moment after the second that the sample has
	} {
		m := r.Metric("Host", hostNode, metric)
		if m == nil {
			missing = errors.Join(missing, fmt.Errorf("there is no %s", metric))
			continue
		}
		for _, s := range m.Samples {
			if !right(s.Value) {
				t.Errorf("%s is %v at %s", metric, s.Value, s.Date)
			}
		}
		if age := time.Since(m.Samples[len(m.Samples)-1].Date); age > 3*time.Second {
			missing = errors.Join(missing, fmt.Errorf("the last sample of %s is %s old", metric, age))
		}
	}
	if _, ok := r.Value("Process", processNode(p.process), "goroutines"); !ok {
		missing = errors.Join(missing, errors.New("promscope's own process is not there"))
	}
	return missing
}

// startSteady starts promscope with steadyConfig, and waits for its metrics.
func startSteady(t *testing.T, args ...string) (*plugin, *probetest.Client) {
	t.Helper()
	p := startPlugin(t, steadyConfig(t), args...)
	client := probe(t, p)
	recovers(t, p, client, 20*time.Second)
	return p, client
}

// recovers waits until all is there, and right from then on.
func recovers(t *testing.T, p *plugin, client *probetest.Client, limit time.Duration) {
	t.Helper()
	within(t, client, time.Now(), limit, "all metrics", func(r *probetest.Report) error { return judge(t, p, r) })
}

// A process that was stopped for a while goes on as if nothing had been.
func TestStopped(t *testing.T) {
	t.Parallel()
	p, client := startSteady(t)
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(*stopped)
	if err := p.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	recovers(t, p, client, 5*time.Second)
	for range 10 {
		_ = judge(t, p, poll(t, client, 1)) // nothing is wrong afterwards
		time.Sleep(500 * time.Millisecond)
	}
	if strings.Contains(p.output.String(), "level=ERROR") {
		t.Error("there are errors in the log")
	}
}

// Without free descriptors promscope goes on with those that it has.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	p, client := startSteady(t)
	var before unix.Rlimit
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 1 << 10}, &before); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		report, err := client.Poll(t.Context())
		if err != nil {
			t.Fatalf("without descriptors: %v", err)
		}
		_ = judge(t, p, report) // what is there is right
		time.Sleep(time.Second)
	}
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 10, Max: 1 << 10}, nil); err != nil {
		t.Fatal(err)
	}
	recovers(t, p, client, 10*time.Second)
	p.awaitSocket(t, time.Second)
	p.logged(t, "job=steady", 0) // its connection was there
}

// Nothing but the plugin's directory can be written, and then there is no room for the socket either.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork) {
		return
	}
	p := startPlugin(t, nothingToScrape)
	root := filepath.Dir(filepath.Dir(p.socket))
	mountTmpfs(t, root, "nr_inodes=20")
	p.awaitSocket(t, socketBack)
	p.awaitHealth(t, http.StatusOK)
	if err := os.RemoveAll(filepath.Dir(p.socket)); err != nil {
		t.Fatal(err)
	}
	var fill []string
	for err := error(nil); !errors.Is(err, unix.ENOSPC); { // faster than promscope, which looks each second
		name := filepath.Join(root, fmt.Sprintf("%d", len(fill)))
		if err = os.WriteFile(name, nil, 0o600); err == nil {
			fill = append(fill, name)
		} else if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if body := p.awaitHealth(t, http.StatusServiceUnavailable); !strings.Contains(body, "no space left") {
		t.Errorf("/-/healthy says %q", body)
	}
	time.Sleep(5 * time.Second)
	p.logged(t, "no space left", 1)
	for _, name := range fill {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitSocket(t, socketBack)
	p.awaitHealth(t, http.StatusOK)
}

// Where nothing but the plugins root can be written, promscope runs.
func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork) {
		return
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := writeConfig(t, steadyConfig(t))
	root := t.TempDir()
	mountTmpfs(t, root, "")
	cmd := exec.Command("/bin/sh", "-c", `for m in $(awk '$5 != "`+root+`" {print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro "$m" 2>/dev/null; done
		if touch "`+filepath.Dir(file)+`/x" 2>/dev/null; then echo writable; exit 1; fi
		exec "$@"`, "sh", path, "--scope.plugins-root="+root, "--scope.host="+hostName, "--config.file="+file, "--web.listen-address=127.0.0.1:4041")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	p := &plugin{process: startCommand(t, cmd), socket: filepath.Join(root, "promscope", "promscope.sock"), web: "http://127.0.0.1:4041"}
	p.awaitSocket(t, 20*time.Second)
	client := probe(t, p)
	recovers(t, p, client, 20*time.Second)
	if log := p.output.String(); strings.Contains(log, "read-only") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log:\n%s", log)
	}
}

// startAsNobody runs promscope as a user without rights.
func startAsNobody(t *testing.T, file string) *plugin {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := errors.Join(os.Chown(root, 65534, 65534), os.Chmod(filepath.Dir(root), 0o755)); err != nil {
		t.Fatal(err)
	}
	p := &plugin{socket: filepath.Join(root, "promscope", "promscope.sock"), web: freeAddress(t)}
	cmd := exec.Command(path, "--scope.plugins-root="+root, "--scope.host="+hostName, "--config.file="+file, "--web.listen-address="+p.web)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p.process, p.web = startCommand(t, cmd), "http://"+p.web
	p.awaitSocket(t, 20*time.Second)
	return p
}

// Where /proc hides the processes of others, what needs none of them is there.
func TestHiddenProcesses(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	if err := unix.Mount("", "/proc", "", unix.MS_REMOUNT, "hidepid=2"); err != nil {
		t.Fatal(err)
	}
	p := startAsNobody(t, writeConfig(t, steadyConfig(t)))
	recovers(t, p, probe(t, p), 20*time.Second)
	if strings.Contains(p.output.String(), "level=ERROR") {
		t.Error("there are errors in the log")
	}
}

// A collector whose programs the kernel refuses after a reload takes nothing else along.
func TestRefusedAfterReload(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		unmet(t, "needs root, to run promscope as another user")
	}
	config := steadyConfig(t)
	file := writeConfig(t, config)
	p := startAsNobody(t, file)
	client := probe(t, p)
	recovers(t, p, client, 20*time.Second)
	if err := os.WriteFile(file, []byte(strings.Replace(config, "http: {enabled: false}", "http: {enabled: true}", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged(t, `msg="A collector is off" collector=http`, 1)
	p.logged(t, "was loaded anew", 1) // only then /metrics has the new collectors
	if !strings.Contains(p.metrics(t), `promscope_collector_running{collector="http"} 0`) {
		t.Error("promscope_collector_running does not say so")
	}
	recovers(t, p, client, 5*time.Second)
	p.logged(t, `msg="A collector is off" collector=http`, 1)
}

// inGuest says that this machine is a guest: its clock may be set, and it may be put to sleep.
const inGuest = "PROMSCOPE_TEST_GUEST"

// settles polls until all is there and right. Once the clock was set, the client has to be a new one:
// what a probe relies on from poll to poll does not survive that.
func settles(t *testing.T, p *plugin, client *probetest.Client, what string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		report, err := client.Poll(t.Context())
		if err == nil {
			err = judge(t, p, report)
		}
		took := time.Since(began)
		if err == nil {
			t.Logf("%s: all metrics after %s", what, took.Round(100*time.Millisecond))
			return
		}
		if took > time.Minute {
			t.Errorf("%s: still after %s: %v", what, took, err)
			return
		}
	}
}

// The clock is set by an hour, in both directions. It runs in a guest:
//
//	CGO_ENABLED=0 go build ./cmd/promscope && CGO_ENABLED=0 go test -c -o e2e.test ./cmd/promscope
//	ebpf/kernels/boot KERNEL 'PROMSCOPE_TEST_SANDBOX=$PWD PROMSCOPE_TEST_GUEST=1 ./e2e.test -test.v -test.run=TestClockSet' promscope e2e.test
func TestClockSet(t *testing.T) {
	if os.Getenv(inGuest) == "" {
		t.Skip("sets the machine's clock: run it in a guest")
	}
	p, _ := startSteady(t)
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
		if err := unix.Settimeofday(&now); err != nil {
			t.Fatal(err)
		}
		settles(t, p, probe(t, p), "set by "+by.String())
	}
}

// The machine sleeps with its memory powered (S3), and its clock wakes it after half a minute. The
// timers of programs have stood still meanwhile, and the time of day and that since the boot have not.
// It runs in a guest, as TestClockSet does, with -test.run=TestSuspended.
func TestSuspended(t *testing.T) {
	if os.Getenv(inGuest) == "" {
		t.Skip("puts the machine to sleep: run it in a guest")
	}
	p, client := startSteady(t)
	const asleep = 30 * time.Second
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	beyond := func() time.Duration { // what the time since the boot has beyond that of timers
		var boot, timers unix.Timespec
		if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.ClockGettime(unix.CLOCK_MONOTONIC, &timers)); err != nil {
			t.Fatal(err)
		}
		return time.Duration(boot.Nano() - timers.Nano())
	}
	before, log := beyond(), p.output.String()
	write("/sys/class/rtc/rtc0/wakealarm", fmt.Sprintf("+%d", int(asleep.Seconds())))
	write("/sys/power/state", "mem") // returns when the machine is awake again
	slept := beyond() - before
	t.Logf("the machine slept for %s", slept)
	if slept < asleep/2 {
		t.Fatal("that is no sleep")
	}
	settles(t, p, client, "after the sleep") // the probe has slept, too
	for range 10 {
		_ = judge(t, p, poll(t, client, 1)) // nothing is wrong afterwards
		time.Sleep(500 * time.Millisecond)
	}
	if since := strings.TrimPrefix(p.output.String(), log); since != "" {
		t.Errorf("since the sleep the log says:\n%s", since)
	}
}

func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}
