package wait

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// BenchmarkGather gathers beside as many processes more as PROMSCOPE_TEST_PROCESSES says.
func BenchmarkGather(b *testing.B) {
	c := newCollector(b)
	n, _ := strconv.Atoi(os.Getenv("PROMSCOPE_TEST_PROCESSES")) // none if it says nothing
	for range n {
		startIdle(b)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(loadtest.Gather(b, c)["promscope_wait_threads"][0].GetGauge().GetValue(), "threads")
}

// startIdle starts a process that sleeps until the test ends.
func startIdle(b *testing.B) {
	b.Helper()
	process, err := os.StartProcess("/bin/sleep", []string{"sleep", "600"}, &os.ProcAttr{})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() {
		process.Kill()
		process.Wait() // it was killed
	})
}

// BenchmarkSwitch passes a byte from one thread to another and back, on one CPU: two switches of that CPU.
func BenchmarkSwitch(b *testing.B) {
	b.Run("without", pingPong)
	b.Run("with", func(b *testing.B) {
		c := newCollector(b)
		pingPong(b)
		if stats, err := c.Programs.Collection.Programs["on_switch"].Stats(); err == nil && stats.RunCount > 0 {
			b.ReportMetric(float64(stats.Runtime.Nanoseconds())/float64(stats.RunCount), "ns/run") // kernel.bpf_stats_enabled is 1
		}
	})
}

func pingPong(b *testing.B) {
	var there, back [2]int
	if err := unix.Pipe2(there[:], unix.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	if err := unix.Pipe2(back[:], unix.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	pass := func(from, to int) bool {
		var buf [1]byte
		n, err := unix.Read(from, buf[:])
		if n != 1 || err != nil {
			return false
		}
		_, err = unix.Write(to, buf[:])
		return err == nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread exits with it
		err := pin()
		for pass(there[0], back[1]) {
		}
		done <- err
	}()
	finished := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := pin()
		var buf [1]byte
		for b.Loop() {
			if _, err := unix.Write(there[1], buf[:]); err != nil {
				break
			}
			if _, err := unix.Read(back[0], buf[:]); err != nil {
				break
			}
		}
		finished <- err
	}()
	if err := <-finished; err != nil {
		b.Fatal(err)
	}
	unix.Close(there[1])
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	for _, fd := range []int{there[0], back[0], back[1]} {
		unix.Close(fd)
	}
}
