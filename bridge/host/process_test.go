package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestProcess(t *testing.T) {
	tree, m := fixture(t)
	tree.Add(hosttest.Process{
		PID: 100, PPID: 7, Comm: "a (strange) name", Exe: "/opt/exporter (deleted)", StartTicks: 4200,
		Cgroup: "12:pids:/docker/" + idA + "\n0::/\n", NetNS: 501, PIDNS: 502, NSPIDs: []int{100, 1},
	})
	got, err := m.Process(100)
	if err != nil {
		t.Fatal(err)
	}
	want := Process{
		PID: 100, PPID: 7, Comm: "a (strange) name", Exe: "/opt/exporter", StartTicks: 4200,
		Start:     tree.Boot().Add(42*time.Second - tick),
		Container: idA, NetNS: 501,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := m.Process(4711); !errors.Is(err, ErrNoProcess) {
		t.Errorf("no such process: %v", err)
	}
}

// A process that ends between two files of it is none, and never half of one.
func TestProcessVanishes(t *testing.T) {
	for _, file := range []string{"stat", "cgroup"} {
		tree, m := fixture(t)
		tree.Add(hosttest.Process{PID: 100, Comm: "short"})
		if err := os.Remove(filepath.Join(tree.Root, "100", file)); err != nil {
			t.Fatal(err)
		}
		if p, err := m.Process(100); !errors.Is(err, ErrNoProcess) {
			t.Errorf("without %s: %+v, %v", file, p, err)
		}
	}
}

func TestProcessReal(t *testing.T) {
	m := realMachine(t)
	begin := time.Now()
	h := hosttest.Start(t, "sleep", 0)
	p, err := m.Process(h.PID)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if p.PPID != os.Getpid() || p.Exe != exe || p.NetNS != m.NetNS() || p.NetNS == 0 {
		t.Errorf("%+v", p)
	}
	if early := begin.Sub(p.Start); early > 2*tick || p.Start.After(time.Now()) {
		t.Errorf("start %v before it was started", early)
	}
	h.Stop()
	if _, err := m.Process(h.PID); !errors.Is(err, ErrNoProcess) {
		t.Errorf("after it ended: %v", err)
	}
}

func TestNewErrors(t *testing.T) {
	empty := t.TempDir()
	for _, root := range []string{filepath.Join(empty, "none"), empty} {
		if _, err := New(Options{ProcRoot: root}); err == nil {
			t.Errorf("%s is no procfs", root)
		}
	}
}

func TestSelf(t *testing.T) {
	_, m := fixture(t)
	if m.PID() != hosttest.Self || m.NetNS() != hosttest.InitNetNS {
		t.Errorf("pid %d in network namespace %d", m.PID(), m.NetNS())
	}
	if err := m.CanEnterNamespaces(); err == nil {
		t.Error("the namespaces of a tree of files can be entered")
	}
	if m := realMachine(t); m.PID() != os.Getpid() || !m.self.native {
		t.Errorf("own pid %d, want %d", m.PID(), os.Getpid())
	}
}
