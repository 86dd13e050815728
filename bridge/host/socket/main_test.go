package socket

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestMain(m *testing.M) {
	os.Exit(hosttest.Main(m, map[string]func() (string, error){
		"master":  runMaster,
		"worker":  runWorker,
		"chroot":  runChroot,
		"manager": runManager,
		"service": runWorker,
		"given":   runGiven,
		// They have no input that would end them.
		"activated": func() (string, error) { return forever(runWorker()) },
		"alone":     func() (string, error) { return forever(listen(net.ListenConfig{})) },
		"forward":   runForwarder,
		"exporter":  runExporter,
		"listen":    func() (string, error) { return listen(net.ListenConfig{}) },
		"reuseport": func() (string, error) { return listen(net.ListenConfig{Control: reusePort}) },
	}))
}

// runMaster listens, and has a child accept, which says where that is.
func runMaster() (string, error) {
	l, err := listenAt(net.ListenConfig{})
	if err != nil {
		return "", err
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
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

// runGiven is a service that has a listener by LISTEN_FDS. It starts a careless child that
// inherits the listener and the environment.
func runGiven() (string, error) {
	pid := strconv.Itoa(os.Getpid())
	if os.Getenv("LISTEN_PID") != pid {
		env := append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID="+pid)
		return "", syscall.Exec("/proc/self/exe", os.Args, env)
	}
	careless := exec.Command("/bin/sleep", "1000")
	careless.ExtraFiles = []*os.File{os.NewFile(3, "listener")}
	careless.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the thread is the child's parent
	if err := careless.Start(); err != nil {
		return "", err
	}
	return runWorker()
}

// forever waits until the process is killed.
func forever(address string, err error) (string, error) {
	if err == nil {
		select {}
	}
	return address, err
}

// runManager listens as a service manager does, by the name COMM, which never accepts, and starts and stops
// the service when it is told.
func runManager() (string, error) {
	// That is the name of the first thread, which /proc/PID/stat shows.
	name := cmp.Or(os.Getenv("COMM"), "systemd")
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return "", err
	}
	network, address := "tcp", "127.0.0.1:0"
	if path := os.Getenv("ADDRESS"); path != "" {
		network, address = "unix", path
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return "", err
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return "", err
	}
	commands, err := net.Listen("unix", "@promscope-test-manager-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return "", err
	}
	go func() {
		var service *exec.Cmd
		var input io.Closer
		for {
			conn, err := commands.Accept()
			if err != nil {
				return
			}
			var what string
			_, _ = fmt.Fscan(conn, &what)
			if what == "start" {
				service = hosttest.Command(cmp.Or(os.Getenv("SERVICE"), "service"))
				service.ExtraFiles = []*os.File{f}
				input, _ = service.StdinPipe()
				output, _ := service.StdoutPipe()
				if service.Start() == nil {
					_, _ = bufio.NewReader(output).ReadString('\n')
				}
			} else {
				_ = input.Close()
				_ = service.Wait()
			}
			fmt.Fprintln(conn, service.Process.Pid)
			conn.Close()
		}
	}()
	return l.Addr().String(), nil
}

// runForwarder opens a connection for each that it accepts. It runs until it is killed.
func runForwarder() (string, error) {
	l, err := net.Listen("tcp", os.Getenv("ADDRESS"))
	if err != nil {
		return "", err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return "", err
		}
		server, err := net.Dial("tcp", os.Getenv("SERVER"))
		if err != nil {
			return "", err
		}
		go func() { _, _ = io.Copy(server, conn) }()
		go func() { _, _ = io.Copy(conn, server) }()
	}
}

// runExporter answers each request after it has connected to its server, for as long as
// that takes. The path of the request is the server's address.
func runExporter() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		network, address := "tcp", r.URL.Query().Get("target")
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		if address == "" {
			return
		}
		conn, err := net.Dial(network, address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	})}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String(), nil
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
	l, err := listenAt(config)
	if err != nil {
		return "", err
	}
	return serve(l), nil
}

// listenAt listens at ADDRESS.
func listenAt(config net.ListenConfig) (net.Listener, error) {
	if err := hosttest.LoopbackUp(); err != nil {
		return nil, err
	}
	network, address := "tcp", os.Getenv("ADDRESS")
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	return config.Listen(context.Background(), network, address)
}

// serve answers every request with this process's pid, after PAUSE, and returns where.
func serve(l net.Listener) string {
	pause, _ := time.ParseDuration(os.Getenv("PAUSE"))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(pause)
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

// commandManager has the helper manager start or stop its service, and returns the pid of that.
func commandManager(t *testing.T, manager int, what string) (service int) {
	t.Helper()
	conn, err := net.Dial("unix", "@promscope-test-manager-"+strconv.Itoa(manager))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, what)
	if _, err := fmt.Fscan(conn, &service); err != nil {
		t.Fatal(err)
	}
	return service
}

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
