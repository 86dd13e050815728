package exits

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// roleVariable makes the test binary one of the processes that a test needs beside itself.
const roleVariable = "PROMSCOPE_EXITS_TEST_ROLE"

func TestMain(m *testing.M) {
	// No test leaves a core dump behind, nor do its processes.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil { // until it is where it belongs
		os.Exit(3)
	}
	switch role {
	case "eat":
		eat()
	case "threads":
		beThreads(16)
	case "leaderless":
		beThreads(4)
		endFirst()
	case "exec":
		execElsewhere()
	}
	select {}
}

// eat takes memory until there is none.
func eat() {
	for {
		if _, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE); err != nil {
			os.Exit(6)
		}
	}
}

// beThreads starts threads that sleep.
func beThreads(n int) {
	for range n {
		go func() {
			runtime.LockOSThread()
			unix.Syscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}()
	}
	for threads() < n {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
}

func threads() int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		os.Exit(4)
	}
	return len(tasks)
}

// endFirst ends the first thread of the process, be it this one or one that runs goroutines.
// The runtime goes on without.
func endFirst() {
	try := func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
	}
	for try(); ; time.Sleep(time.Millisecond) {
		go try()
	}
}

// execElsewhere has a thread that is not the first run another program. The kernel kills all others.
func execElsewhere() {
	go func() {
		err := syscall.Exec("/bin/true", []string{"true"}, nil)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(5)
	}()
}

// place is a cgroup of a test.
type place struct {
	dir     string
	path    string // as the kernel has it
	version int
	others  []string // directories in other hierarchies where its processes are as well
}

// beside returns the place whose processes are also in that directory of another hierarchy.
func (g *place) beside(dir string) *place {
	g.others = append(g.others, dir)
	return g
}

// hierarchies returns where a test can make cgroups that the collector tells: where the memory
// controller is, and the one of version 2.
func hierarchies(t *testing.T) (memory, unified *procfs.MountInfo) {
	t.Helper()
	mounts, err := procfs.GetMounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		_, isMemory := m.SuperOptions["memory"]
		switch {
		case m.FSType == "cgroup2":
			unified = m
			content, err := os.ReadFile(filepath.Join(m.MountPoint, "cgroup.controllers"))
			if err == nil && strings.Contains(string(content), "memory") {
				memory = m
			}
		case m.FSType == "cgroup" && isMemory:
			memory = m
		}
	}
	if memory == nil {
		memory = unified
	}
	if unified == nil {
		unified = memory
	}
	if memory == nil {
		impossible(t, errors.New("there are no cgroups"))
	}
	return memory, unified
}

// newGroup makes a cgroup that is named like a container's.
func newGroup(t *testing.T, in *procfs.MountInfo) *place {
	t.Helper()
	g := &place{version: 1}
	if in.FSType == "cgroup2" {
		g.version = 2
	}
	parent := fmt.Sprintf("promscope-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	name := parent + "/docker-" + strings.Repeat("0123456789abcdef", 4) + ".scope"
	g.dir, g.path = filepath.Join(in.MountPoint, name), filepath.Join(in.Root, name)
	parent = filepath.Dir(g.dir)
	for _, dir := range []string{parent, g.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			impossible(t, err)
		}
		t.Cleanup(func() { removeGroup(t, dir) })
		if g.version == 2 && dir == parent {
			for _, dir := range []string{in.MountPoint, parent} {
				// Where there is no such controller, the test does without.
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0)
			}
		}
	}
	return g
}

// removeGroup removes a cgroup. It is busy until the last process is gone.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 1000 {
		if err = os.Remove(dir); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(err)
}

// impossible skips a test that the machine does not allow, unless the environment says that it must run.
func impossible(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("PROMSCOPE_REQUIRE_BPF") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// child is a process in the group.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

// start starts a program in a group. It may do what it does once it is told to.
func (g *place) start(t *testing.T, name string, arguments ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(name, arguments...)}
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if c.out, err = c.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(name, "/proc/") {
		c.Env = append(os.Environ(), roleVariable+"="+arguments[0])
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	err = c.Start()
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait() // it has ended before, or was killed
	})
	for _, dir := range append([]string{g.dir}, g.others...) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// play starts this binary in a role.
func (g *place) play(t *testing.T, role string) *child {
	t.Helper()
	return g.start(t, "/proc/self/exe", role)
}

// tell has the child go on.
func (c *child) tell(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// says waits for a line.
func (c *child) says(t *testing.T) {
	t.Helper()
	if _, err := io.ReadFull(c.out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end of the child and returns the status.
func (c *child) ends(t *testing.T) syscall.WaitStatus {
	t.Helper()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.Sys().(syscall.WaitStatus)
}

// killed sends the child a signal, and expects it to end by that.
func (c *child) killed(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if status := c.ends(t); !status.Signaled() || status.Signal() != signal {
		t.Fatalf("status %#x after %v", status, signal)
	}
}

func openCollector(t *testing.T) *load.Collector {
	t.Helper()
	c, err := defaultOptions().open(loadtest.Environment(time.Second))
	return loadtest.Started(t, "", c, err)
}
