package host

import (
	"testing"

	"github.com/prometheus/procfs"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 3 0 4200 1000 10\n"
	p, state, threads, err := parseStat([]byte("100 (a) (b\n)" + rest))
	if err != nil || p.Comm != "a) (b\n" || p.PPID != 7 || p.StartTicks != 4200 || state != 'S' || threads != 3 {
		t.Errorf("%+v %c %d %v", p, state, threads, err)
	}
	for _, bad := range []string{"", "100", "100 (a", "100 )a(", "100 (a)", "100 (a) S 7 1", "100 (a) S x 1 1", "100 (a) S 7 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 3 0 x "} {
		if _, _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is no stat file", bad)
		}
	}
}

// The parser here and the one in procfs agree on all processes.
func TestStatAgreesWithProcfs(t *testing.T) {
	m := realMachine(t)
	all, err := procfs.AllProcs()
	if err != nil {
		t.Skip(err)
	}
	compared := 0
	for _, proc := range all {
		want, err := proc.Stat()
		if err != nil {
			continue
		}
		got, err := m.Stat(proc.PID)
		if err != nil {
			continue
		}
		if again, err := proc.Stat(); err != nil || again.Comm != want.Comm {
			continue // a kernel worker is named after its work
		}
		compared++
		if got.StartTicks != want.Starttime || got.Comm != want.Comm || got.PPID != want.PPID {
			t.Errorf("%+v, procfs says %+v", got, want)
		}
	}
	if compared == 0 {
		t.Error("no process compared")
	}
}
