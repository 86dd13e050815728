package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// roleVariable makes the test binary a program that a test needs, in a process of
// its own.
const roleVariable = "PROMSCOPE_TEST_ROLE"

// play runs a program until its standard input ends, which a test or its end
// sees to.
func play(role string) int {
	name, argument, _ := strings.Cut(role, " ")
	var err error
	switch name {
	case "golang":
		err = playGolang(argument)
	case "pids":
		err = playPIDs(argument)
	case "probe":
		err = playProbe(argument)
	case "crowd":
		err = playCrowd(argument)
	case "bad":
		err = playBadClients(argument)
	case "stranger":
		err = playStranger(argument)
	case "tunnel":
		err = playTunnel(argument)
	case "activated":
		err = playActivated()
	case "user":
		err = playUser(argument)
	case "load":
		err = playLoad(argument)
	case "server":
		err = serveRole(argument, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	case "servers":
		err = playServers(argument)
	case "churn":
		err = playChurn(argument)
	case "exporters":
		err = playExporters(argument)
	case "exporter":
		err = playExporter(argument)
	case "fetch":
		err = playFetch(argument)
	default:
		err = fmt.Errorf("there is no role %q", name)
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// startRole starts the test binary as that program, in new namespaces of those
// kinds, and waits until it has printed a line, which is returned.
func startRole(t testing.TB, namespaces uintptr, env []string, role string) (*process, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(withoutHostName(), roleVariable+"="+role), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startCommand(t, cmd)
	t.Cleanup(func() { stdin.Close() })
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		line, _, whole := strings.Cut(p.output.String(), "\n")
		switch {
		case whole && !strings.HasPrefix(line, "error:"):
			return p, line
		case whole || time.Now().After(deadline):
			t.Fatalf("%s: %s", role, p.output)
		}
	}
}

// playGolang is a program as people write it with client_golang: the runtime's
// metrics, and requests counted by promhttp's handlers. A request leaves garbage that
// is collected at once, so that there are pauses to tell of.
func playGolang(address string) error {
	requests := promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "Requests.",
	}, []string{"code", "method"})
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	mux.Handle("/", promhttp.InstrumentHandlerCounter(requests, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
		runtime.GC()
	})))
	return serveRole(address, mux)
}

// playActivated serves the metrics of this process on the socket that a service manager
// has opened for it (sd_listen_fds(3)).
func playActivated() error {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, promhttp.Handler()) }()
	fmt.Println(l.Addr())
	return nil
}

// playPIDs is an exporter in a pid namespace that tells what it knows about the
// processes there: itself, a worker, and one that there is not.
func playPIDs(argument string) error {
	address, stranger, _ := strings.Cut(argument, " ")
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	worker := exec.Command("sleep", "600")
	worker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := worker.Start(); err != nil {
		return err
	}
	go func() { _ = worker.Wait() }()
	return serveRole(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/kill" {
			_ = worker.Process.Kill()
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "work{pid=\"%d\"} 5\nwork{pid=\"%d\"} 7\nwork{pid=\"%s\"} 9\n", os.Getpid(), worker.Process.Pid, stranger)
	}))
}

func serveRole(address string, handler http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, handler) }()
	fmt.Println(l.Addr())
	return nil
}

// playProbe polls a plugin as Scope's probe does, on a host with the given name
// if there is one.
func playProbe(argument string) error {
	socket, name, _ := strings.Cut(argument, " ")
	if name != "" {
		if err := unix.Sethostname([]byte(name)); err != nil {
			return err
		}
	}
	client := probetest.NewClient(socket, probetest.Options{Timeout: 5 * time.Second})
	go func() {
		for range time.Tick(200 * time.Millisecond) {
			_, _ = client.Poll(context.Background())
		}
	}()
	fmt.Println("polling")
	return nil
}

// playCrowd makes a machine busy to look at: so many processes, and so many
// listening sockets, a tenth of them on the ports where exporters are.
func playCrowd(argument string) error {
	var processes, sockets int
	if _, err := fmt.Sscan(argument, &processes, &sockets); err != nil {
		return err
	}
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	if _, err := startSleepers(processes); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: uint64(sockets) + 1000, Max: uint64(sockets) + 1000}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>no exporter") })
	held := make([]net.Listener, 0, sockets)
	for len(held) < sockets {
		port := 10000 + rand.IntN(50000)
		if len(held)%10 == 0 {
			port = 9090 + len(held)/10%910
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		held = append(held, l)
		go func() { _ = http.Serve(l, page) }()
	}
	fmt.Println("crowded")
	return nil
}
