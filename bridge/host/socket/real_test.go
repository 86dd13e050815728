package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

// A process in network, pid and UTS namespaces of its own: found, dialed,
// attributed and translated.
func TestNamespacesReal(t *testing.T) {
	table := realTable(t)
	h := hosttest.Start(t, "listen", syscall.CLONE_NEWNET|syscall.CLONE_NEWPID|syscall.CLONE_NEWUTS, "ADDRESS=127.0.0.1:0")
	if err := table.machine.CanEnterNamespaces(); err != nil {
		t.Skip(err)
	}
	ctx := context.Background()
	ns, err := table.machine.Namespace(h.PID, "net")
	if err != nil {
		t.Fatal(err)
	}
	if ns == table.machine.NetNS() {
		t.Fatal("the helper is in our network namespace")
	}

	there := Wanted{TCP: func(netns uint64, _ netip.AddrPort) bool { return netns == ns }}
	listeners, err := table.Listeners(ctx, there)
	if err != nil {
		t.Fatal(err)
	}
	if len(listeners) != 1 || listeners[0].Addr != addr(h.Address) || listeners[0].Owner.PID != h.PID {
		t.Fatalf("listeners in the namespace: %+v", listeners)
	}

	conn, err := table.DialContext(ctx, ns, "tcp", h.Address)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, conn); got != "1" {
		t.Errorf("the server is pid %s in its namespace, want 1", got)
	}
	if p, ok := table.OwnerOf(ctx, conn); !ok || p.PID != h.PID {
		t.Errorf("owner of the connection %d (%v), want %d", p.PID, ok, h.PID)
	}
	if pid, ok := table.machine.TranslatePID(h.PID, 1); !ok || pid.PID != h.PID || !pid.Holds() {
		t.Errorf("its pid 1 is %d (%v), want %d", pid.PID, ok, h.PID)
	}
	if _, err := table.DialContext(ctx, ns, "tcp", strings.Replace(h.Address, "127.0.0.1", "localhost", 1)); err == nil {
		t.Error("a name was resolved for another namespace")
	}

	h.Stop()
	if _, err := table.DialContext(ctx, ns, "tcp", h.Address); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("dialing a namespace that has gone: %v", err)
	}
	listeners, err = table.Listeners(ctx, there)
	if err != nil || len(listeners) > 0 {
		t.Errorf("after it ended: %v, %v", listeners, err)
	}
	if own, err := table.machine.Namespace(table.machine.PID(), "net"); err != nil || own != table.machine.NetNS() {
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
	table := realTable(t)
	h := hosttest.Start(t, "master", 0, "ADDRESS=127.0.0.1:0")
	conn, err := net.Dial("tcp", h.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p, ok := table.OwnerOf(context.Background(), conn); !ok || p.PID != h.PID {
		t.Errorf("owner %d (%v), want the master %d", p.PID, ok, h.PID)
	}
	if got := get(t, conn); got == strconv.Itoa(h.PID) {
		t.Error("the master answered itself")
	}
}

// The master is the server of a connection by a unix socket, too, also where it is in another
// network namespace.
func TestUnixServersReal(t *testing.T) {
	for name, flags := range map[string]uintptr{"the same namespace": 0, "another namespace": syscall.CLONE_NEWNET} {
		t.Run(name, func(t *testing.T) {
			table := realTable(t)
			path := filepath.Join(t.TempDir(), "server.sock")
			h := hosttest.Start(t, "master", flags, "ADDRESS="+path)
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			inode, err := socketInode(conn)
			if err != nil {
				t.Fatal(err)
			}
			own, err := table.machine.Process(table.machine.PID())
			if err != nil {
				t.Fatal(err)
			}
			var peers map[uint64]peer
			eventually(t, "the worker that accepts", func() bool {
				peers = table.peersOf(own, map[uint64]bool{inode: true})
				return len(peers) > 0
			})
			if peers[inode].listener == 0 {
				t.Skip("sockets cannot be borrowed")
			}
			if s := table.serversOf(t.Context(), own, peers, maxHops); s.process.PID != h.PID {
				t.Errorf("%+v, want the master %d", s, h.PID)
			}
		})
	}
}

// Two processes share a port: each connection is attributed to the one that
// answers it.
func TestReusePortReal(t *testing.T) {
	table := realTable(t)
	first := hosttest.Start(t, "reuseport", 0, "ADDRESS=127.0.0.1:0")
	second := hosttest.Start(t, "reuseport", 0, "ADDRESS="+first.Address)
	answered := map[int]int{}
	for range 40 {
		conn, err := net.Dial("tcp", first.Address)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := table.OwnerOf(context.Background(), conn)
		got := get(t, conn)
		if !ok || got != strconv.Itoa(p.PID) {
			t.Errorf("process %s answered, the owner is %d (%v)", got, p.PID, ok)
		}
		answered[p.PID]++
	}
	if answered[first.PID] == 0 || answered[second.PID] == 0 {
		t.Errorf("answered by %v, not by both", answered)
	}
}

func TestUnixOwnerReal(t *testing.T) {
	table := realTable(t)
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
	if p, ok := table.OwnerOf(context.Background(), conn); !ok || p.PID != table.machine.PID() {
		t.Errorf("owner %d (%v), want %d", p.PID, ok, table.machine.PID())
	}
	// Without the credentials, by its path.
	if p, ok := table.listeners.unixOwner(t.Context(), table.machine.NetNS(), path); !ok || p.PID != table.machine.PID() {
		t.Errorf("owner of %s %d (%v), want %d", path, p.PID, ok, table.machine.PID())
	}
	if p, ok := table.listeners.unixOwner(t.Context(), table.machine.NetNS(), path+"x"); ok {
		t.Errorf("a path where nobody listens has the owner %d", p.PID)
	}
}

// A unix socket below a process's root is dialed there: a link of its file system does
// not lead to a socket of ours.
func TestDialBelowRootReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to change the root directory")
	}
	root := t.TempDir()
	helper := hosttest.Start(t, "chroot", 0, "ROOT="+root, "ADDRESS=/own.sock")
	outside := filepath.Join(t.TempDir(), "ours.sock")
	l, err := net.Listen("unix", outside)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, target := range map[string]string{"absolute.sock": "/own.sock", "escapes.sock": outside} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	table := realTable(t)
	for name, reached := range map[string]bool{"own.sock": true, "absolute.sock": true, "escapes.sock": false, "none.sock": false} {
		conn, err := table.DialContext(t.Context(), 0, "unix", fmt.Sprintf("/proc/%d/root/%s", helper.PID, name))
		if (err == nil) != reached {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if p, ok := table.OwnerOf(t.Context(), conn); !ok || p.PID != helper.PID {
			t.Errorf("%s: owner %d (%v), want %d", name, p.PID, ok, helper.PID)
		}
		conn.Close()
	}
}
