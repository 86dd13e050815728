package http

import (
	"bufio"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/load"
)

// TestPaced sends three requests each millisecond, so that the tasks of server and client preempt each
// other where the kernel preempts. The hook set that is chosen counts all of them, or says how many events
// it missed.
func TestPaced(t *testing.T) {
	address := freeAddress(t)
	c := newCollector(t, Options{Ports: only(t, address)})
	t.Run(c.Programs.HookSet.Name, func(t *testing.T) { testPaced(t, c, address) })
}

func testPaced(t *testing.T, c *load.Collector, address string) {
	pid := startGo(t, address)
	n := scaled(3000)
	missedBefore := missed(t, c)
	sent := 0
	for range 10 {
		began := time.Now()
		var group sync.WaitGroup
		for first := range 3 {
			conn := dial(t, address)
			group.Go(func() {
				reader := bufio.NewReader(conn)
				for i := first; i < n; i += 3 {
					conn.Write([]byte(get))
					if _, err := readResponse(reader); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		group.Wait()
		sent += n
		counted := gather(t, c, servers)[pid].Requests
		reported := missed(t, c) - missedBefore
		if lost := sent - counted; lost < 0 || lost > reported {
			t.Errorf("%d of %d counted, and %d events reported as missed", counted, sent, reported)
		}
		t.Logf("%d of %d counted, %d events missed, %.2f requests a millisecond", counted, sent, reported, float64(n)/float64(time.Since(began).Milliseconds()))
	}
}

// TestMemory asks the kernel what the maps take with 20 servers: not more on a machine with many CPUs.
func TestMemory(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		for range 20 {
			address := freeAddress(t)
			startGo(t, address)
			request(t, dial(t, address), "/200")
		}
		if n := own(t, c, "promscope_http_processes"); n < 20 {
			t.Fatalf("%v processes", n)
		}
		var total uint64
		for name, m := range c.Programs.Collection.Maps {
			info, err := m.Info()
			if err != nil {
				t.Fatal(err)
			}
			bytes, ok := info.Memlock()
			if !ok && name != "sockets" { // which lie in the sockets: some kernels say nothing of them
				t.Fatalf("the kernel does not tell the memory of map %s", name)
			}
			t.Logf("%s: %d bytes", name, bytes)
			total += bytes
		}
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			t.Fatal(err)
		}
		const most = 8_000_000
		t.Logf("%d bytes in all on %d possible CPUs", total, cpus)
		if total > most {
			t.Errorf("%d bytes in all, more than %d", total, most)
		}
		if os.Getenv("PROMSCOPE_REQUIRE_CPUS") != "" && cpus < 128 {
			t.Errorf("only %d possible CPUs", cpus)
		}
	})
}
