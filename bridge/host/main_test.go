package host

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// helperVariable makes the test binary one of the helpers below.
const helperVariable = "PROMSCOPE_HOST_TEST_HELPER"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" {
		if err := runHelper(mode); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runHelper does what the test wants another process for, says so on standard
// output, and ends with its standard input.
func runHelper(mode string) error {
	listen := &net.ListenConfig{}
	switch mode {
	case "sleep":
	case "master": // listens, and has a child accept
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		worker := exec.Command(os.Args[0])
		worker.Env = append(os.Environ(), helperVariable+"=worker")
		worker.ExtraFiles = []*os.File{f}
		worker.Stdin, worker.Stdout = os.Stdin, os.Stdout
		if err := worker.Start(); err != nil {
			return err
		}
		return worker.Wait()
	case "worker":
		l, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			return err
		}
		go serve(l)
		fmt.Println(l.Addr())
	case "lxc":
		if err := liveInLXC(); err != nil {
			return err
		}
	case "uts":
		if err := unix.Sethostname([]byte("another-name")); err != nil {
			return err
		}
	case "reuseport":
		listen.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		}
		fallthrough
	case "listen":
		if err := hosttest.LoopbackUp(); err != nil {
			return err
		}
		l, err := listen.Listen(nil, "tcp", os.Getenv("ADDRESS")) //nolint:staticcheck // without a context
		if err != nil {
			return err
		}
		go serve(l)
		fmt.Println(l.Addr())
	}
	fmt.Println("ready")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	_ = err // standard input was closed
	return nil
}

// serve answers every request with this process's pid.
func serve(l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, os.Getpid())
	})}
	_ = server.Serve(l)
}

// helper is a process that the test started.
type helper struct {
	pid  int
	addr string // where it listens, if it does
	stop func() // ends it and waits for that
}

// startHelper starts a helper in new namespaces of those kinds, or skips the test if that
// is not permitted.
func startHelper(t *testing.T, mode string, cloneflags uintptr, env ...string) helper {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helperVariable+"="+mode), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if cloneflags != 0 && os.IsPermission(err) {
			t.Skipf("needs CAP_SYS_ADMIN to make namespaces: %v", err)
		}
		t.Fatal(err)
	}
	stopped := false
	h := helper{pid: cmd.Process.Pid, stop: func() {
		if !stopped {
			stopped = true
			stdin.Close()
			_ = cmd.Wait()
		}
	}}
	t.Cleanup(h.stop)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "ready":
			return h
		case strings.HasPrefix(line, "error:"):
			t.Fatalf("helper %s: %s", mode, line)
		default:
			h.addr = line
		}
	}
	t.Fatalf("helper %s ended", mode)
	return h
}

// fixture returns a tree and the machine that it is.
func fixture(t testing.TB) (*hosttest.Tree, *Machine, *clock) {
	t.Helper()
	tree := hosttest.New(t)
	clock := &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	return tree, newTestMachine(t, Options{
		ProcRoot: tree.Root,
		Now:      func() time.Time { return clock.now },
		Hostname: func() (string, error) { return "own-name", nil },
	}), clock
}

// clock is the time of a fixture.
type clock struct{ now time.Time }

func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

// boot is when the machine of a fixture was booted, as long as its clock stands.
func (c *clock) boot() time.Time { return c.now.Add(-hosttest.Uptime) }

// real returns this machine.
func realMachine(t testing.TB) *Machine {
	t.Helper()
	return newTestMachine(t, Options{})
}

func newTestMachine(t testing.TB, opts Options) *Machine {
	t.Helper()
	m, err := New(opts, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// eventually waits for something that another thread or the kernel does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
