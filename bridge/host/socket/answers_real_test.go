package socket

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

// program returns the path of a program of the system, or skips the test.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("needs %s", names[0])
	return ""
}

// run starts a program, and ends it with the test.
func run(t *testing.T, path string, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// freePort returns an address where nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// dialEventually connects as soon as somebody listens.
func dialEventually(t *testing.T, network, address string) (conn net.Conn) {
	t.Helper()
	eventually(t, "a listener at "+address, func() (ok bool) {
		var err error
		conn, err = net.Dial(network, address)
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// only wants the TCP listener at an address.
func only(address string) Wanted {
	return Wanted{TCP: func(_ uint64, a netip.AddrPort) bool { return a == addr(address) }}
}

// listenerAt returns the one listener at an address.
func listenerAt(t *testing.T, table *Table, address string) Listener {
	t.Helper()
	listeners, err := table.Listeners(t.Context(), only(address))
	if err != nil || len(listeners) != 1 {
		t.Fatalf("%v, %v", listeners, err)
	}
	return listeners[0]
}

// A service manager holds a listener, as process 1 does, and starts and stops the
// service. The service is found with the first look after its start, again after its
// restart, and the manager never answers.
func TestSocketActivationReal(t *testing.T) {
	m, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	table := New(m)
	manager := hosttest.Start(t, "manager", 0)
	command := func(what string) (service int) { return commandManager(t, manager.PID, what) }
	dormant := func(when string) {
		t.Helper()
		if l := listenerAt(t, table, manager.Address); !l.Dormant || l.Owner.PID != manager.PID {
			t.Errorf("%s: %+v", when, l)
		}
		conn := dialEventually(t, "tcp", manager.Address)
		if p, ok := table.OwnerOf(t.Context(), conn); ok {
			t.Errorf("%s process %d (%s) answers", when, p.PID, p.Comm)
		}
		conn.Close()
	}
	for i := range 3 {
		dormant("before start " + strconv.Itoa(i))
		dormant("still before start " + strconv.Itoa(i))
		service := command("start")
		l := listenerAt(t, table, manager.Address)
		if l.Dormant || l.Owner.PID != service {
			t.Errorf("service %d is started: %+v", service, l)
		}
		conn := dialEventually(t, "tcp", manager.Address)
		if p, ok := table.OwnerOf(t.Context(), conn); !ok || p.PID != service {
			t.Errorf("owner %d (%v), want the service %d", p.PID, ok, service)
		}
		conn.Close()
		command("stop")
	}
	// Without discovery, which looks at all listeners, it is the same.
	table = New(m)
	idle := dialEventually(t, "tcp", manager.Address)
	if p, ok := table.OwnerOf(t.Context(), idle); ok {
		t.Errorf("process %d (%s) answers", p.PID, p.Comm)
	}
	service := command("start")
	if p, ok := table.OwnerOf(t.Context(), idle); !ok || p.PID != service {
		t.Errorf("owner %d (%v) of a connection from before, want the service %d", p.PID, ok, service)
	}
}

// systemd-socket-activate executes the service in its own process.
func TestSocketActivateReal(t *testing.T) {
	activate := program(t, "systemd-socket-activate")
	table := realTable(t)
	address := freePort(t)
	pid := run(t, activate, "-E", "PROMSCOPE_TEST_HELPER=activated", "-l", address, os.Args[0])
	eventually(t, "a listener", func() bool {
		listeners, err := table.Listeners(t.Context(), only(address))
		return err == nil && len(listeners) == 1 && listeners[0].Dormant
	})
	conn := dialEventually(t, "tcp", address)
	eventually(t, "the service", func() bool {
		p, ok := table.OwnerOf(t.Context(), conn)
		return ok && p.PID == pid && p.Comm != "systemd-socket-"
	})
	if l := listenerAt(t, table, address); l.Dormant || l.Owner.PID != pid || l.Owner.Exe != executable(t) {
		t.Errorf("%+v", l)
	}
	if got := get(t, conn); got != strconv.Itoa(pid) {
		t.Errorf("process %s answered, want %d", got, pid)
	}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// The listener of a forwarder is not who answers: the process behind it is, by TCP or by
// a unix socket. Of a program that answers by itself under a forwarder's name, and of a
// tunnel, nothing is known.
func TestForwardersReal(t *testing.T) {
	table := realTable(t)
	server := hosttest.Start(t, "listen", 0, "ADDRESS=127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "server.sock")
	unixServer := hosttest.Start(t, "listen", 0, "ADDRESS="+path)
	// ask sends a request, and returns whose answer it is according to the table while the
	// answer is under way, and who answered.
	ask := func(address string) (owner int, answered string) {
		conn := dialEventually(t, "tcp", address)
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		answer := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := table.OwnerOf(t.Context(), conn)
		_, answered, _ = strings.Cut(string(answer[:n]), "\r\n\r\n")
		return p.PID, answered
	}
	expect := func(name, address string, want int) {
		t.Helper()
		if owner, answered := ask(address); owner != want || want != 0 && answered != strconv.Itoa(want) {
			t.Errorf("%s: owner %d, want %d; %s answered", name, owner, want, answered)
		}
	}
	t.Run("systemd-socket-proxyd", func(t *testing.T) {
		activate, proxy := program(t, "systemd-socket-activate"), program(t, "/lib/systemd/systemd-socket-proxyd")
		address, unixAddress := freePort(t), freePort(t)
		run(t, activate, "-l", address, proxy, server.Address)
		run(t, activate, "-l", unixAddress, proxy, path)
		expect("by TCP", address, server.PID)
		expect("by TCP, again", address, server.PID)
		expect("by a unix socket", unixAddress, unixServer.PID)
	})
	t.Run("socat", func(t *testing.T) {
		socat := program(t, "socat")
		address, unixAddress := freePort(t), freePort(t)
		run(t, socat, "TCP-LISTEN:"+addr(address).String()[len("127.0.0.1:"):]+",bind=127.0.0.1,fork", "TCP:"+server.Address)
		run(t, socat, "TCP-LISTEN:"+addr(unixAddress).String()[len("127.0.0.1:"):]+",bind=127.0.0.1,fork", "UNIX-CONNECT:"+path)
		expect("by TCP", address, server.PID)
		expect("by a unix socket", unixAddress, unixServer.PID)
	})
	t.Run("by its name", func(t *testing.T) {
		for name, want := range map[string]int{"redir": server.PID, "kubectl": 0, "ssh": 0} {
			address := freePort(t)
			copied := filepath.Join(t.TempDir(), name)
			if err := os.Link(executable(t), copied); err != nil {
				t.Skip(err)
			}
			t.Setenv("PROMSCOPE_TEST_HELPER", "forward")
			t.Setenv("ADDRESS", address)
			t.Setenv("SERVER", server.Address)
			run(t, copied)
			expect(name, address, want)
		}
	})
}

// A process that has entered the network namespace of another one is the owner of what it
// listens on there.
func TestEnteredNamespaceReal(t *testing.T) {
	nsenter := program(t, "nsenter")
	table := realTable(t)
	if err := table.machine.CanEnterNamespaces(); err != nil {
		t.Skip(err)
	}
	other := hosttest.Start(t, "listen", syscall.CLONE_NEWNET, "ADDRESS=127.0.0.1:0")
	t.Setenv("PROMSCOPE_TEST_HELPER", "alone")
	t.Setenv("ADDRESS", "127.0.0.1:9100")
	pid := run(t, nsenter, "--net=/proc/"+strconv.Itoa(other.PID)+"/ns/net", os.Args[0])
	ns, err := table.machine.Namespace(other.PID, "net")
	if err != nil {
		t.Fatal(err)
	}
	there := Wanted{TCP: func(netns uint64, a netip.AddrPort) bool { return netns == ns && a.Port() == 9100 }}
	eventually(t, "the listener", func() bool {
		listeners, err := table.Listeners(t.Context(), there)
		return err == nil && len(listeners) == 1 && listeners[0].Owner.PID == pid
	})
	conn, err := table.DialContext(t.Context(), ns, "tcp", "127.0.0.1:9100")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := table.OwnerOf(t.Context(), conn); !ok || p.PID != pid {
		t.Errorf("owner %d (%v), want %d", p.PID, ok, pid)
	}
	conn.Close()
}
