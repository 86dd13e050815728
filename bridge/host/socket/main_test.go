package socket

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestMain(m *testing.M) {
	os.Exit(hosttest.Main(m, map[string]func() (string, error){
		"master":    runMaster,
		"worker":    runWorker,
		"chroot":    runChroot,
		"listen":    func() (string, error) { return listen(net.ListenConfig{}) },
		"reuseport": func() (string, error) { return listen(net.ListenConfig{Control: reusePort}) },
	}))
}

// runMaster listens, and has a child accept, which says where that is.
func runMaster() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	worker := hosttest.Command("worker")
	worker.ExtraFiles = []*os.File{f}
	worker.Stdin, worker.Stdout = os.Stdin, os.Stdout
	return "", worker.Run()
}

func runWorker() (string, error) {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return "", err
	}
	return serve(l), nil
}

// runChroot listens on a unix socket below another root directory.
func runChroot() (string, error) {
	if err := syscall.Chroot(os.Getenv("ROOT")); err != nil {
		return "", err
	}
	l, err := net.Listen("unix", os.Getenv("ADDRESS"))
	if err != nil {
		return "", err
	}
	return serve(l), nil
}

func reusePort(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

func listen(config net.ListenConfig) (string, error) {
	if err := hosttest.LoopbackUp(); err != nil {
		return "", err
	}
	l, err := config.Listen(context.Background(), "tcp", os.Getenv("ADDRESS"))
	if err != nil {
		return "", err
	}
	return serve(l), nil
}

// serve answers every request with this process's pid, and returns where.
func serve(l net.Listener) string {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, os.Getpid())
	})}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String()
}

// fixture returns a tree of files and the sockets of the machine that it is.
func fixture(t testing.TB) (*hosttest.Tree, *Table) {
	t.Helper()
	tree := hosttest.New(t)
	return tree, newTestTable(t, host.Options{ProcRoot: tree.Root, Now: tree.Now})
}

// realTable returns the sockets of this machine.
func realTable(t testing.TB) *Table {
	t.Helper()
	return newTestTable(t, host.Options{})
}

func newTestTable(t testing.TB, opts host.Options) *Table {
	t.Helper()
	m, err := host.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return New(m)
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
