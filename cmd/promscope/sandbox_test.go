package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// sandboxVariable makes the test binary run a test in namespaces that it was
// started in; its value is buildDir.
const sandboxVariable = "PROMSCOPE_TEST_SANDBOX"

// requireServers makes tests fail that would be skipped for want of a program or
// a right.
const requireServers = "PROMSCOPE_REQUIRE_SERVERS"

// The namespaces of a sandbox.
const (
	ownNetwork   = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	ownProcesses = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
)

// inSandbox runs the calling test once more, in namespaces of those kinds, where
// all ports are free and no other process can be seen. It returns true there, and
// false outside, when the test is over.
func inSandbox(t *testing.T, namespaces uintptr, needs ...func() (string, error)) bool {
	t.Helper()
	if os.Getenv(sandboxVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		unmet(t, "needs root, to make namespaces")
	}
	for _, build := range append(needs, binary) {
		if _, err := build(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v",
		fmt.Sprintf("-test.timeout=%s", 3*time.Minute+*soakDuration), fmt.Sprintf("-soak=%s", *soakDuration), fmt.Sprintf("-reloads=%d", *reloads))
	cmd.Env = append(os.Environ(), sandboxVariable+"="+buildDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	output := &buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if *soakDuration > 0 { // one wants to see how far it is
		cmd.Stdout = io.MultiWriter(output, os.Stdout)
	}
	err := cmd.Run()
	out := output.String()
	switch {
	case err != nil:
		t.Fatalf("in the sandbox: %v\n%s", err, out)
	case strings.Contains(out, "--- SKIP: "+t.Name()+" "):
		t.Skipf("in the sandbox:\n%s", out)
	case *soakDuration == 0:
		t.Logf("in the sandbox:\n%s", out)
	}
	return false
}

// runInSandbox is TestMain there.
func runInSandbox(m *testing.M) int {
	buildDir = os.Getenv(sandboxVariable)
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "furnishing the sandbox:", err)
		return 1
	}
	return m.Run()
}

// furnish gives new namespaces what they lack: a /proc of their processes, and a
// loopback.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if os.Getpid() == 1 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return err
		}
	}
	return hosttest.LoopbackUp()
}

// unmet skips the test for want of something, or fails it where everything has to
// be there.
func unmet(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(requireServers) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// program returns the path of the first of the programs that is installed, or
// else what Debian calls it.
func program(t testing.TB, pkg string, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, path := range []string{name, "/usr/sbin/" + name} {
			if found, err := exec.LookPath(path); err == nil {
				return found
			}
		}
	}
	unmet(t, "needs %s (Debian: %s)", strings.Join(names, " or "), pkg)
	return ""
}
