package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary is promscope, built once for all end-to-end tests. When these run with the race
// detector, promscope does so as well.
var binary = sync.OnceValues(func() (string, error) {
	if raceDetector() {
		return build("promscope", "1", "build", "-race", "-o", "{}", ".")
	}
	return build("promscope", "0", "build", "-o", "{}", ".")
})

// raceDetector reports whether the tests were built with the race detector.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// nodeExporter is the real node_exporter, from the module proxy.
var nodeExporter = sync.OnceValues(func() (string, error) {
	return build("node_exporter", "0", "install", "github.com/prometheus/node_exporter@v1.12.1")
})

// testsAtOnce is how many tests run in parallel unless -parallel says otherwise: they
// wait for scrapes most of their time, so it is more than a small machine has CPUs.
const testsAtOnce = "8"

// buildDir holds the binaries; TestMain removes it.
var buildDir string

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	if os.Getenv(sandboxVariable) != "" {
		os.Exit(runInSandbox(m))
	}
	err := flag.Set("test.parallel", testsAtOnce) // the command line is parsed after this
	if err == nil {
		buildDir, err = os.MkdirTemp("", "promscope-test-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Readable for the test that runs promscope as another user.
	if err := os.Chmod(buildDir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// build runs the go command; {} in an argument stands for the path of the binary.
func build(name, cgo string, args ...string) (string, error) {
	path := filepath.Join(buildDir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil // in a sandbox: built outside
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{}", path)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOBIN="+buildDir, "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, nil
}

// process is a program that a test runs.
type process struct {
	*exec.Cmd
	output *buffer
	done   chan struct{}
	err    error
}

// kill ends a program that may have ended already.
func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// start starts a program that ends with the test at the latest.
func start(t testing.TB, path string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(path, args...))
}

// startCommand starts a command that ends with the test at the latest.
func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, output: &buffer{}, done: make(chan struct{})}
	p.Stdout, p.Stderr = p.output, p.output
	p.WaitDelay = time.Second // a child that is left behind may hold on to the output
	if p.SysProcAttr == nil {
		p.SysProcAttr = &syscall.SysProcAttr{}
	}
	p.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p.SysProcAttr.Setpgid = true
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) // the workers of a server that had no time to end them
		if strings.Contains(p.output.String(), "WARNING: DATA RACE") {
			t.Errorf("%s has a data race", filepath.Base(p.Path))
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(p.Path), p.output)
		}
	})
	return p
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s still runs after %s", filepath.Base(p.Path), within)
		return 0
	}
}

// buffer is a bytes.Buffer for a writer and a reader at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// plugin is a running promscope.
type plugin struct {
	*process
	socket string
	web    string // base URL of the debug server
}

// hostName is the host name that all end-to-end tests give.
const hostName = "vm"

// startPlugin runs promscope with a configuration (none if empty) and waits for
// its socket.
func startPlugin(t testing.TB, config string, args ...string) *plugin {
	t.Helper()
	return startPluginIn(t, config, nil, args...)
}

// startPluginIn is startPlugin with variables added to the environment.
func startPluginIn(t testing.TB, config string, environment []string, args ...string) *plugin {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	p := &plugin{
		socket: filepath.Join(root, "promscope", "promscope.sock"),
		web:    freeAddress(t),
	}
	args = append([]string{
		"--scope.plugins-root=" + root, "--scope.host=" + hostName, "--web.listen-address=" + p.web,
	}, args...)
	if config != "" {
		args = append(args, "--config.file="+writeConfig(t, config))
	}
	p.web = "http://" + p.web
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), environment...)
	p.process = startCommand(t, cmd)
	eventually(t, 30*time.Second, "the socket", func() error {
		select {
		case <-p.done:
			return fmt.Errorf("promscope has ended: %w", p.err)
		default:
		}
		conn, err := net.Dial("unix", p.socket) // the file is there a moment before anybody listens
		if err == nil {
			conn.Close()
		}
		return err
	})
	return p
}

// awaitReady waits until every target was tried.
func (p *plugin) awaitReady(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "readiness", func() error {
		status, body, err := get(t.Context(), p.web+"/-/ready")
		if err == nil && status != http.StatusOK {
			return errors.New(body)
		}
		return err
	})
}

// interrupt ends promscope as a user would.
func (p *plugin) interrupt(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// metrics returns promscope's own /metrics. The debug server may be up a moment
// after the socket.
func (p *plugin) metrics(t testing.TB) (exposition string) {
	t.Helper()
	eventually(t, 10*time.Second, "/metrics", func() error {
		status, body, err := get(t.Context(), p.web+"/metrics")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		exposition = body
		return err
	})
	return exposition
}

func get(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func writeConfig(t testing.TB, config string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// addresses counts the addresses that freeAddress has returned.
var addresses atomic.Uint32

// freeAddress returns a loopback address that nobody listens on. Its IP address is
// used for nothing else, so that no other test takes the port.
func freeAddress(t testing.TB) string {
	t.Helper()
	n := addresses.Add(1)
	l, err := net.Listen("tcp", fmt.Sprintf("127.1.%d.%d:0", n/200, n%200+1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually asks until there is no error, or fails with the last one. Its bound is for what
// never comes: three times as long as one on a machine without other tests.
func eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	within = 3 * unhurried(within)
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still after %s: %v", what, within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unhurried is a bound for programs that may have the race detector, which makes them
// several times slower.
func unhurried(bound time.Duration) time.Duration {
	if raceDetector() {
		return 4 * bound
	}
	return bound
}

// errNotYet is for eventually.
var errNotYet = errors.New("not yet")
