package discovery

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

const exposition = "# HELP up_time Time.\n# TYPE up_time gauge\nup_time 1\nup_total{a=\"b\"} 2\n"

// serverVariable makes the test binary a server of an exposition, in another
// process and perhaps other namespaces.
const serverVariable = "PROMSCOPE_DISCOVERY_TEST_SERVER"

func TestMain(m *testing.M) {
	if address := os.Getenv(serverVariable); address != "" {
		if err := runServer(address); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runServer(address string) error {
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(serveExposition)) }()
	fmt.Println(l.Addr())
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	_ = err // standard input was closed
	return nil
}

func serveExposition(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, exposition)
}

// server is another process that serves an exposition.
type server struct {
	pid  int
	addr string
	stop func()
}

func startServer(t *testing.T, address string, cloneflags uintptr) server {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"="+address)
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
	stop := sync.OnceFunc(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		t.Fatalf("server: %s%v", line, err)
	}
	return server{cmd.Process.Pid, strings.TrimSpace(line), stop}
}

func newTestProber(t testing.TB, root string, opts ProberOptions) (*Prober, *prometheus.Registry) {
	t.Helper()
	m, err := host.New(host.Options{ProcRoot: root}, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	p, err := NewProber(m, opts, promslog.NewNopLogger(), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		_ = m.Close()
	})
	return p, reg
}
