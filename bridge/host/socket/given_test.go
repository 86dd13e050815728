package socket

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// A manager that no list names gives its listener to a service: that is the owner, also after
// a restart, and also if the service has a careless child. A child that was given nothing is
// like a worker.
func TestUnlistedManagerReal(t *testing.T) {
	for service, given := range map[string]bool{"given": true, "service": false} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(service+" "+network, func(t *testing.T) { testUnlistedManager(t, service, network, given) })
		}
	}
}

func testUnlistedManager(t *testing.T, service, network string, given bool) {
	table := realTable(t)
	env := []string{"COMM=unlisted", "SERVICE=" + service}
	if network == "unix" {
		env = append(env, "ADDRESS="+filepath.Join(t.TempDir(), "s"))
	}
	h := hosttest.Start(t, "manager", 0, env...)
	tell := func(what string) (service int) { return commandManager(t, h.PID, what) }
	expect := func(what string, want int) {
		t.Helper()
		conn, err := net.Dial(network, h.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if p, _ := table.OwnerOf(t.Context(), conn); p.PID != want {
			t.Errorf("%s: owner %d, want %d (manager %d)", what, p.PID, want, h.PID)
		}
		if network == "unix" {
			return
		}
		if got := owners(t, table, only(h.Address))[h.Address]; got != want {
			t.Errorf("%s: listed owner %d, want %d (manager %d)", what, got, want, h.PID)
		}
	}
	expect("no service", h.PID)
	for _, what := range []string{"started", "started again"} {
		pid := tell("start")
		want := h.PID
		if given {
			want = pid
		}
		expect(what, want)
		tell("stop")
		expect("stopped", h.PID)
	}
}

// A program that has the listener as its standard input was given it, unless that is its
// parent's standard input, too.
func TestGivenAsStandardInput(t *testing.T) {
	table := realTable(t)
	address, f := listenerFile(t)
	// The second program starts another one, which inherits its standard input.
	for _, program := range []string{"sleep 1000", "timeout 1000 sleep 1000"} {
		args := strings.Fields(program)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = f
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if cmd.ProcessState == nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			}
		})
		if args[0] == "timeout" {
			eventually(t, "its child", func() bool { return len(childrenOf(table.machine, cmd.Process.Pid)) > 0 })
		}
		for range 2 {
			if got := owners(t, table, only(address))[address]; got != cmd.Process.Pid {
				t.Errorf("%s: owner %d, want %d", program, got, cmd.Process.Pid)
			}
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		// The other program's child may take a moment to end.
		eventually(t, "the parent again", func() bool { return owners(t, table, only(address))[address] == os.Getpid() })
	}
}

// A holder with many children is a server with workers: they are not looked at.
func TestGivenAmongMany(t *testing.T) {
	table := realTable(t)
	address, f := listenerFile(t)
	start := func(stdin *os.File) int {
		cmd := exec.Command("sleep", "1000")
		if stdin != nil {
			cmd.Stdin = stdin
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd.Process.Pid
	}
	service := start(f)
	if got := owners(t, table, only(address))[address]; got != service {
		t.Errorf("one child: owner %d, want %d", got, service)
	}
	for range maxChildren {
		start(nil)
	}
	if got := owners(t, realTable(t), only(address))[address]; got != os.Getpid() {
		t.Errorf("many children: owner %d, want %d", got, os.Getpid())
	}
}

// listenerFile listens, and returns the address and what a child can be given.
func listenerFile(t *testing.T) (address string, f *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return l.Addr().String(), f
}
