package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A process in network, pid and UTS namespaces of its own: found, dialed,
// attributed and translated.
func TestNamespacesReal(t *testing.T) {
	m := realMachine(t)
	h := startHelper(t, "listen", syscall.CLONE_NEWNET|syscall.CLONE_NEWPID|syscall.CLONE_NEWUTS, "ADDRESS=127.0.0.1:0")
	if err := m.CanEnterNamespaces(); err != nil {
		t.Skip(err)
	}
	ctx := context.Background()
	ns, err := m.namespace(h.pid, "net")
	if err != nil {
		t.Fatal(err)
	}
	if ns == m.NetNS() {
		t.Fatal("the helper is in our network namespace")
	}

	there := Wanted{TCP: func(netns uint64, _ netip.AddrPort) bool { return netns == ns }}
	listeners, err := m.Listeners(ctx, there)
	if err != nil {
		t.Fatal(err)
	}
	if len(listeners) != 1 || listeners[0].Addr != addr(h.addr) || listeners[0].Owner.PID != h.pid {
		t.Fatalf("listeners in the namespace: %+v", listeners)
	}

	conn, err := m.DialContext(ctx, ns, "tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, conn); got != "1" {
		t.Errorf("the server is pid %s in its namespace, want 1", got)
	}
	if p, ok := m.OwnerOf(ctx, conn); !ok || p.PID != h.pid {
		t.Errorf("owner of the connection %d (%v), want %d", p.PID, ok, h.pid)
	}
	if pid, ok := m.TranslatePID(h.pid, 1); !ok || pid != h.pid {
		t.Errorf("its pid 1 is %d (%v), want %d", pid, ok, h.pid)
	}
	if _, err := m.DialContext(ctx, ns, "tcp", strings.Replace(h.addr, "127.0.0.1", "localhost", 1)); err == nil {
		t.Error("a name was resolved for another namespace")
	}

	h.stop()
	if _, err := m.DialContext(ctx, ns, "tcp", h.addr); !errors.Is(err, ErrNoProcess) {
		t.Errorf("dialing a namespace that has gone: %v", err)
	}
	listeners, err = m.Listeners(ctx, there)
	if err != nil || len(listeners) > 0 {
		t.Errorf("after it ended: %v, %v", listeners, err)
	}
	if own, err := m.namespace(m.PID(), "net"); err != nil || own != m.NetNS() {
		t.Errorf("we ended up in network namespace %d: %v", own, err)
	}
}

// get asks over a connection and returns the body of the answer.
func get(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true,
	}}
	response, err := client.Get("http://helper/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// The child accepts; the listener is the master's.
func TestPreforkReal(t *testing.T) {
	m := realMachine(t)
	h := startHelper(t, "master", 0)
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p, ok := m.OwnerOf(context.Background(), conn); !ok || p.PID != h.pid {
		t.Errorf("owner %d (%v), want the master %d", p.PID, ok, h.pid)
	}
	if got := get(t, conn); got == strconv.Itoa(h.pid) {
		t.Error("the master answered itself")
	}
}

// Two processes share a port: each connection is attributed to the one that
// answers it.
func TestReusePortReal(t *testing.T) {
	m := realMachine(t)
	first := startHelper(t, "reuseport", 0, "ADDRESS=127.0.0.1:0")
	second := startHelper(t, "reuseport", 0, "ADDRESS="+first.addr)
	answered := map[int]int{}
	for range 40 {
		conn, err := net.Dial("tcp", first.addr)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := m.OwnerOf(context.Background(), conn)
		got := get(t, conn)
		if !ok || got != strconv.Itoa(p.PID) {
			t.Errorf("process %s answered, the owner is %d (%v)", got, p.PID, ok)
		}
		answered[p.PID]++
	}
	if answered[first.pid] == 0 || answered[second.pid] == 0 {
		t.Errorf("answered by %v, not by both", answered)
	}
}

func TestUnixOwnerReal(t *testing.T) {
	m := realMachine(t)
	path := filepath.Join(t.TempDir(), "exporter.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p, ok := m.OwnerOf(context.Background(), conn); !ok || p.PID != m.PID() {
		t.Errorf("owner %d (%v), want %d", p.PID, ok, m.PID())
	}
	// Without the credentials, by its path.
	if p, ok := m.sockets.unixOwner(m.NetNS(), path); !ok || p.PID != m.PID() {
		t.Errorf("owner of %s %d (%v), want %d", path, p.PID, ok, m.PID())
	}
	if p, ok := m.sockets.unixOwner(m.NetNS(), path+"x"); ok {
		t.Errorf("a path where nobody listens has the owner %d", p.PID)
	}
}

// Without the right to enter namespaces the error says so, and ours still works.
func TestEnterError(t *testing.T) {
	err := enterError(1, networkNamespace(), syscall.EPERM)
	if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Error(err)
	}
	if err := enterError(1, networkNamespace(), syscall.ENOENT); !errors.Is(err, ErrNoProcess) {
		t.Error(err)
	}
	if err := enterError(1, utsNamespace(), io.ErrUnexpectedEOF); !strings.Contains(fmt.Sprint(err), "uts namespace of process 1") {
		t.Error(err)
	}
}
