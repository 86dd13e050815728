package host

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestMain(m *testing.M) {
	os.Exit(hosttest.Main(m, map[string]func() (string, error){
		"sleep":   func() (string, error) { return "", nil },
		"lxc":     func() (string, error) { return "", liveInLXC() },
		"foreign": func() (string, error) { return "", seeForeignProc() },
		"uts":     func() (string, error) { return "", unix.Sethostname([]byte("another-name")) },
	}))
}

// fixture returns a tree and the machine that it is.
func fixture(t testing.TB) (*hosttest.Tree, *Machine) {
	t.Helper()
	tree := hosttest.New(t)
	return tree, newTestMachine(t, Options{
		ProcRoot: tree.Root,
		Now:      tree.Now,
		Hostname: func() (string, error) { return "own-name", nil },
	})
}

// realMachine returns this machine.
func realMachine(t testing.TB) *Machine {
	t.Helper()
	return newTestMachine(t, Options{})
}

func newTestMachine(t testing.TB, opts Options) *Machine {
	t.Helper()
	m, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}
