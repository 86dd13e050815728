package hosttest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// helperVariable names the helper that a test binary is to be.
const helperVariable = "PROMSCOPE_TEST_HELPER"

// Main runs the tests, or in a process that [Start] started the helper of that name,
// and returns the exit code. A helper does what the test wants another process for,
// and returns where it listens, if it does; the process ends with its standard input.
func Main(m *testing.M, helpers map[string]func() (address string, err error)) (code int) {
	name := os.Getenv(helperVariable)
	if name == "" {
		return m.Run()
	}
	address, err := helpers[name]()
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("ready", address)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
	return 0
}

// Command returns the command that runs a helper.
func Command(name string, env ...string) *exec.Cmd { return command(os.Args[0], name, env) }

func command(path, name string, env []string) *exec.Cmd {
	cmd := exec.Command(path) //nolint:noctx // it ends with its standard input
	cmd.Env = append(append(os.Environ(), helperVariable+"="+name), env...)
	return cmd
}

// Helper is a process that a test started.
type Helper struct {
	PID     int
	Address string // where it listens
	Stop    func() // ends it and waits for that
}

// Start starts a helper in new namespaces of those kinds, or skips the test if that
// is not permitted.
func Start(t testing.TB, name string, cloneflags uintptr, env ...string) Helper {
	t.Helper()
	return start(t, Command(name, env...), name, cloneflags)
}

// StartProgram starts a helper from another path, at which the test binary is, too.
func StartProgram(t testing.TB, path, name string, env ...string) Helper {
	t.Helper()
	return start(t, command(path, name, env), name, 0)
}

func start(t testing.TB, cmd *exec.Cmd, name string, cloneflags uintptr) Helper {
	t.Helper()
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
	address, ready := strings.CutPrefix(strings.TrimSpace(line), "ready")
	if !ready {
		t.Fatalf("helper %s: %s%v", name, line, err)
	}
	return Helper{cmd.Process.Pid, strings.TrimSpace(address), stop}
}
