package host

import (
	"testing"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestTranslatePID(t *testing.T) {
	tree, m := fixture(t)
	const ns = 4026531999
	tree.Add(hosttest.Process{PID: 100, Comm: "exporter", PIDNS: ns, NSPIDs: []int{100, 1}})
	tree.Add(hosttest.Process{PID: 101, Comm: "worker", PIDNS: ns, NSPIDs: []int{101, 7}})
	tree.Add(hosttest.Process{PID: 102, Comm: "elsewhere", PIDNS: ns + 1, NSPIDs: []int{102, 8}})
	tree.Add(hosttest.Process{PID: 103, Comm: "plain"})
	tree.Add(hosttest.Process{
		PID: 104, Comm: "process-export", PIDNS: ns + 2, NSPIDs: []int{104, 1},
		MountInfo: "25 1 0:5 / /proc rw - proc none rw\n26 25 0:5 /bus /proc/bus ro - proc none rw\n27 1 0:6 / /host/proc ro - proc none rw\n",
	})
	for _, tc := range []struct {
		name          string
		exporter, pid int
		want          int
	}{
		{"its own pid 1", 100, 1, 100},
		{"another process there", 101, 7, 101},
		{"one of another namespace", 100, 8, 0},
		{"one that is not there", 100, 103, 0},
		{"no namespace of its own", 103, 4711, 4711},
		{"it reads the host's /proc", 104, 103, 103},
		{"no such exporter", 4711, 1, 0},
	} {
		got, ok := m.TranslatePID(tc.exporter, tc.pid)
		if got.PID != tc.want || ok != (tc.want != 0) {
			t.Errorf("%s: %d of %d is %d (%v), want %d", tc.name, tc.pid, tc.exporter, got.PID, ok, tc.want)
		}
	}

	if own, _ := m.TranslatePID(103, 4711); own.Holds != nil {
		t.Error("a pid of the machine may become wrong")
	}

	seven, _ := m.TranslatePID(101, 7)
	if !seven.Holds() {
		t.Error("the process lives, and its pid does not hold")
	}
	// The process ends, and a stranger has its pid on the machine.
	tree.Remove(101)
	tree.Add(hosttest.Process{PID: 101, Comm: "stranger", StartTicks: 8888})
	if found, ok := m.pids.lookup(ns, 7); ok {
		t.Errorf("nobody is 7, which was found to be %d", found)
	}
	tree.Advance(freshFor)
	if seven.Holds() {
		t.Error("the pid is a stranger's, and holds")
	}
	if got, ok := m.TranslatePID(100, 7); ok {
		t.Errorf("nobody is 7, which was translated to %d", got.PID)
	}
	tree.Add(hosttest.Process{PID: 120, Comm: "worker", PIDNS: ns, NSPIDs: []int{120, 7}})
	tree.Advance(pidInterval)
	if got, _ := m.TranslatePID(100, 7); got.PID != 120 {
		t.Errorf("after a restart: %d", got.PID)
	}
}
