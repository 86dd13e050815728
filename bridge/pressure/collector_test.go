package pressure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	pod = "0a1b2c3d-0000-4000-8000-123456789abc"
)

// psi is a file of PSI. Averages are what the kernel wrote beside such totals.
func psi(some, full int) string {
	return fmt.Sprintf("some avg10=0.00 avg60=0.04 avg300=1.72 total=%d\nfull avg10=1.50 avg60=0.00 avg300=0.00 total=%d\n", some, full)
}

// write makes a directory with files of PSI, named after the resources and an ending.
func write(t *testing.T, dir, ending string, cpu, memory, io string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"cpu": cpu, "memory": memory, "io": io} {
		if err := os.WriteFile(filepath.Join(dir, name+ending), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newCollector(t *testing.T, pressure, root string, most int) *Collector {
	t.Helper()
	c, err := open(pressure, root, time.Second, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestCollect(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	write(t, dir, "", psi(11002165012, 0), psi(250_000, 125_000), psi(3_000_001, 2_000_000))
	podDir := root + "/kubepods.slice/kubepods-pod" + strings.ReplaceAll(pod, "-", "_") + ".slice"
	write(t, podDir, ".pressure", psi(40, 30), psi(20, 10), psi(8, 7))
	write(t, podDir+"/cri-containerd-"+idA+".scope", ".pressure", psi(4, 3), psi(2, 1), psi(800_000, 700_000))
	write(t, root+"/docker/"+idB, ".pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", psi(0, 0), psi(9, 9))
	c := newCollector(t, dir, root, 10)
	const want = `
# HELP promscope_container_pressure_cpu_stalled_seconds_total Time in which all threads of the container that had something to do waited for a CPU.
# TYPE promscope_container_pressure_cpu_stalled_seconds_total counter
promscope_container_pressure_cpu_stalled_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 3e-06
# HELP promscope_container_pressure_cpu_waiting_seconds_total Time in which at least one thread of the container waited for a CPU.
# TYPE promscope_container_pressure_cpu_waiting_seconds_total counter
promscope_container_pressure_cpu_waiting_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 4e-06
promscope_container_pressure_cpu_waiting_seconds_total{target_container_id="` + idB + `",target_pod_uid=""} 5e-06
# HELP promscope_container_pressure_io_stalled_seconds_total Time in which all threads of the container that had something to do waited for I/O.
# TYPE promscope_container_pressure_io_stalled_seconds_total counter
promscope_container_pressure_io_stalled_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 0.7
promscope_container_pressure_io_stalled_seconds_total{target_container_id="` + idB + `",target_pod_uid=""} 9e-06
# HELP promscope_container_pressure_io_waiting_seconds_total Time in which at least one thread of the container waited for I/O.
# TYPE promscope_container_pressure_io_waiting_seconds_total counter
promscope_container_pressure_io_waiting_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 0.8
promscope_container_pressure_io_waiting_seconds_total{target_container_id="` + idB + `",target_pod_uid=""} 9e-06
# HELP promscope_container_pressure_memory_stalled_seconds_total Time in which all threads of the container that had something to do waited for memory.
# TYPE promscope_container_pressure_memory_stalled_seconds_total counter
promscope_container_pressure_memory_stalled_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 1e-06
promscope_container_pressure_memory_stalled_seconds_total{target_container_id="` + idB + `",target_pod_uid=""} 0
# HELP promscope_container_pressure_memory_waiting_seconds_total Time in which at least one thread of the container waited for memory.
# TYPE promscope_container_pressure_memory_waiting_seconds_total counter
promscope_container_pressure_memory_waiting_seconds_total{target_container_id="` + idA + `",target_pod_uid="` + pod + `"} 2e-06
promscope_container_pressure_memory_waiting_seconds_total{target_container_id="` + idB + `",target_pod_uid=""} 0
# HELP promscope_pod_pressure_cpu_stalled_seconds_total Time in which all threads of the pod that had something to do waited for a CPU.
# TYPE promscope_pod_pressure_cpu_stalled_seconds_total counter
promscope_pod_pressure_cpu_stalled_seconds_total{target_pod_uid="` + pod + `"} 3e-05
# HELP promscope_pod_pressure_cpu_waiting_seconds_total Time in which at least one thread of the pod waited for a CPU.
# TYPE promscope_pod_pressure_cpu_waiting_seconds_total counter
promscope_pod_pressure_cpu_waiting_seconds_total{target_pod_uid="` + pod + `"} 4e-05
# HELP promscope_pod_pressure_io_stalled_seconds_total Time in which all threads of the pod that had something to do waited for I/O.
# TYPE promscope_pod_pressure_io_stalled_seconds_total counter
promscope_pod_pressure_io_stalled_seconds_total{target_pod_uid="` + pod + `"} 7e-06
# HELP promscope_pod_pressure_io_waiting_seconds_total Time in which at least one thread of the pod waited for I/O.
# TYPE promscope_pod_pressure_io_waiting_seconds_total counter
promscope_pod_pressure_io_waiting_seconds_total{target_pod_uid="` + pod + `"} 8e-06
# HELP promscope_pod_pressure_memory_stalled_seconds_total Time in which all threads of the pod that had something to do waited for memory.
# TYPE promscope_pod_pressure_memory_stalled_seconds_total counter
promscope_pod_pressure_memory_stalled_seconds_total{target_pod_uid="` + pod + `"} 1e-05
# HELP promscope_pod_pressure_memory_waiting_seconds_total Time in which at least one thread of the pod waited for memory.
# TYPE promscope_pod_pressure_memory_waiting_seconds_total counter
promscope_pod_pressure_memory_waiting_seconds_total{target_pod_uid="` + pod + `"} 2e-05
# HELP promscope_pressure_cgroups Containers and pods whose pressure is read.
# TYPE promscope_pressure_cgroups gauge
promscope_pressure_cgroups 3
# HELP promscope_pressure_cgroups_left_out Containers and pods whose pressure is not read because there are too many.
# TYPE promscope_pressure_cgroups_left_out gauge
promscope_pressure_cgroups_left_out 0
# HELP promscope_pressure_cpu_waiting_seconds_total Time in which at least one thread of the host waited for a CPU.
# TYPE promscope_pressure_cpu_waiting_seconds_total counter
promscope_pressure_cpu_waiting_seconds_total 11002.165012
# HELP promscope_pressure_io_stalled_seconds_total Time in which all threads of the host that had something to do waited for I/O.
# TYPE promscope_pressure_io_stalled_seconds_total counter
promscope_pressure_io_stalled_seconds_total 2
# HELP promscope_pressure_io_waiting_seconds_total Time in which at least one thread of the host waited for I/O.
# TYPE promscope_pressure_io_waiting_seconds_total counter
promscope_pressure_io_waiting_seconds_total 3.000001
# HELP promscope_pressure_memory_stalled_seconds_total Time in which all threads of the host that had something to do waited for memory.
# TYPE promscope_pressure_memory_stalled_seconds_total counter
promscope_pressure_memory_stalled_seconds_total 0.125
# HELP promscope_pressure_memory_waiting_seconds_total Time in which at least one thread of the host waited for memory.
# TYPE promscope_pressure_memory_waiting_seconds_total counter
promscope_pressure_memory_waiting_seconds_total 0.25
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// What there is no room for is said, and nothing of it read.
func TestTooMany(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	write(t, dir, "", psi(1, 0), psi(1, 0), psi(1, 0))
	for i := range 5 {
		write(t, fmt.Sprintf("%s/docker/%064x", root, i), ".pressure", psi(1, 0), psi(1, 0), psi(1, 0))
	}
	c := newCollector(t, dir, root, 2)
	for name, want := range map[string]int{"promscope_pressure_cgroups": 2, "promscope_pressure_cgroups_left_out": 3} {
		if got := value(t, c, name, ""); got != float64(want) {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
	if n := testutil.CollectAndCount(c, "promscope_container_pressure_io_waiting_seconds_total"); n != 2 {
		t.Errorf("%d containers have series, want 2", n)
	}
}

func TestFindCgroups(t *testing.T) {
	root := t.TempDir()
	podSlice := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(pod, "-", "_") + ".slice"
	for _, dir := range []string{
		"/init.scope", "/system.slice/ssh.service", "/user.slice/user-0.slice/session-1.scope",
		"/system.slice/docker-" + idA + ".scope/inner/docker/" + idB, // one in another is the other's
		podSlice + "/crio-" + idB + ".scope/container",
		podSlice + "/crio-conmon-" + strings.Repeat("c", 64) + ".scope",
		"/machine.slice/libpod-" + strings.Repeat("d", 64) + ".scope/container",
	} {
		if err := os.MkdirAll(root+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	all, err := findCgroups(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		got[f.path] = f.container + "/" + f.pod
	}
	want := map[string]string{
		"/system.slice/docker-" + idA + ".scope": idA + "/",
		podSlice:                                 "/" + pod,
		podSlice + "/crio-" + idB + ".scope":     idB + "/" + pod,
		"/machine.slice/libpod-" + strings.Repeat("d", 64) + ".scope": strings.Repeat("d", 64) + "/",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(all) != len(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// A new container is found within 5 s, also where gatherings are now a little later and now a little earlier.
func TestFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, root := t.TempDir(), t.TempDir()
		write(t, dir, "", psi(1, 0), psi(1, 0), psi(1, 0))
		c := newCollector(t, dir, root, 256)
		began := time.Now()
		for second := range 11 {
			late := time.Duration(10-second) * time.Millisecond
			time.Sleep(time.Until(began.Add(time.Duration(second)*time.Second + late)))
			if got, want := value(t, c, "promscope_pressure_cgroups", ""), float64(second/5); got != want {
				t.Errorf("after %d s %v containers are read, want %v", second, got, want)
			}
			if second%5 == 0 {
				write(t, fmt.Sprintf("%s/docker/%064x", root, second), ".pressure", psi(1, 0), psi(1, 0), psi(1, 0))
			}
		}
	})
}

// What another user keeps to himself costs nothing else.
func TestNotReadable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	const nobody = 65534
	dir, root := t.TempDir(), t.TempDir()
	write(t, dir, "", psi(1, 0), psi(1, 0), psi(1, 0))
	ours, withoutIO, private := "/docker/"+idA, "/docker/"+idB, "/private"
	for _, path := range []string{ours, withoutIO, private + "/docker/" + strings.Repeat("d", 64)} {
		write(t, root+path, ".pressure", psi(1, 0), psi(1, 0), psi(1, 0))
	}
	for _, path := range []string{"", "/docker", ours, ours + "/cpu.pressure", ours + "/memory.pressure", ours + "/io.pressure", withoutIO} {
		if err := os.Chown(root+path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	c := newCollector(t, dir, root, 256)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends with its user
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		_, err := c.gather()
		done <- err
	}()
	if err := <-done; err != nil || len(c.cgroups) != 1 || c.cgroups[ours] == nil {
		t.Errorf("reads %v, with the error %v", c.cgroups, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, content := range []string{"", "full avg10=0.00 total=1\n", "some avg10=0.00 total=many\n", psi(1, -1), "some\n"} {
		if s, err := parse([]byte(content)); err == nil {
			t.Errorf("%q is read as %+v", content, s)
		}
	}
}

// Without PSI the error says how to switch it on.
func TestOff(t *testing.T) {
	_, err := open(filepath.Join(t.TempDir(), "none"), "", time.Second, 0)
	var known *collector.Error
	if !errors.As(err, &known) || !strings.Contains(known.Remedy, "psi=1") {
		t.Errorf("no directory: %v", err)
	}
	known = nil
	if !errors.As(explain(syscall.EOPNOTSUPP), &known) || !strings.Contains(known.Remedy, "psi=1") {
		t.Errorf("a kernel before 5.12: %v", explain(syscall.EOPNOTSUPP))
	}
	dir := t.TempDir()
	write(t, dir, "", "nothing\n", "nothing\n", "nothing\n")
	if _, err := open(dir, "", time.Second, 0); err == nil || errors.As(err, &known) {
		t.Errorf("files that are none: %v", err)
	}
}

// value gathers and returns the value of a series; of several, that of the container.
func value(t *testing.T, c *Collector, name, container string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if container == "" || m.GetLabel()[0].GetValue() == container {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no %s of %q", name, container)
	return 0
}

// newReal returns a collector of this machine.
func newReal(t *testing.T) *Collector {
	t.Helper()
	c, err := (&options{MaxContainers: 256}).Open(collector.Environment{})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.(*Collector)
}

// TestHost compares the host's pressure with what procfs reads before and after.
func TestHost(t *testing.T) {
	c := newReal(t)
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources() {
		before, err := fs.PSIStatsForResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		got := value(t, c, "promscope_pressure_"+resource+"_waiting_seconds_total", "")
		after, err := fs.PSIStatsForResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		least, most := float64(before.Some.Total)/1e6, float64(after.Some.Total)/1e6
		if got < least || got > most {
			t.Errorf("%s is %v, want from %v to %v", resource, got, least, most)
		}
	}
}

// TestContainer has a container whose two processes share a CPU. One of them waits at any
// time, and while something else runs both do. So the kernel's own count for each
// process, added up, is what some waited and what all waited together.
func TestContainer(t *testing.T) {
	c := newReal(t)
	if c.root == "" {
		t.Skip("no hierarchy of cgroups of version 2")
	}
	top := c.root + "/promscope-test-pressure-" + strconv.Itoa(os.Getpid())
	id := fmt.Sprintf("%064x", os.Getpid())
	if err := os.Mkdir(top, 0o700); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.Remove(top) })
	if err := os.Mkdir(top+"/"+id, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(top + "/" + id); err != nil {
			t.Error(err)
		}
	})
	group, err := os.Open(top + "/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	var one unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	var pids []int
	for range 2 {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		if err := unix.SchedSetaffinity(cmd.Process.Pid, &one); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	waited := func() (sum float64) {
		for _, pid := range pids {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
			if err != nil {
				t.Skip(err)
			}
			n, err := strconv.ParseFloat(strings.Fields(string(content))[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n / 1e9
		}
		return sum
	}
	time.Sleep(100 * time.Millisecond) // until both are where they belong
	const (
		waiting = "promscope_container_pressure_cpu_waiting_seconds_total"
		stalled = "promscope_container_pressure_cpu_stalled_seconds_total"
	)
	some, all, delay, began := value(t, c, waiting, id), value(t, c, stalled, id), waited(), time.Now()
	time.Sleep(1500 * time.Millisecond)
	some, all, delay = value(t, c, waiting, id)-some, value(t, c, stalled, id)-all, waited()-delay
	took := time.Since(began).Seconds()
	// A wait is in schedstat when it is over.
	if off := some + all - delay; off < -0.1*delay || off > 0.1*delay {
		t.Errorf("some waited %.3f s and all %.3f s of %.3f s; schedstat has %.3f s", some, all, took, delay)
	}
	if some < 0.9*took || some > 1.1*took {
		t.Errorf("some waited %.3f s of %.3f s", some, took)
	}
	t.Logf("some waited %.3f s and all %.3f s of %.3f s; schedstat has %.3f s", some, all, took, delay)
}

func BenchmarkCollect(b *testing.B) {
	c, err := (&options{MaxContainers: 256}).Open(collector.Environment{})
	if err != nil {
		b.Skip(err)
	}
	defer c.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
