package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// childVariable tells the binary that it is a process whose reads and writes are counted.
const childVariable = "PROMSCOPE_DISK_TEST_CHILD"

// A request has this many bytes: no device of the tests splits them.
const requestBytes = 64 << 10

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var (
			what, path string
			n          int
		)
		_, err := fmt.Sscan(in.Text(), &what, &path, &n)
		switch {
		case err != nil:
		case what == "stay", what == "leave":
			err = transferEach(path, n, what == "stay")
		case what == "beget":
			child := exec.Command(os.Args[0])
			child.Stdin = strings.NewReader(fmt.Sprintln("write", path, n))
			err = child.Run()
		default:
			err = transfer(what, path, n)
		}
		fmt.Println(err) // the parent waits for it
	}
}

// transfer reads or writes n requests past the page cache, or has the device's own cache flushed n times.
func transfer(what, path string, n int) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	aligned := make([]byte, requestBytes+4096)
	aligned = aligned[4096-uintptr(unsafe.Pointer(&aligned[0]))%4096:][:requestBytes]
	for i := range n {
		switch what {
		case "read":
			_, err = unix.Pread(fd, aligned, int64(i)*requestBytes)
		case "write":
			_, err = unix.Pwrite(fd, aligned, int64(i)*requestBytes)
		case "flush":
			err = unix.Fsync(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transferEach has n threads make a write each. Then they end, or stay busy until the process ends: so some
// are on other CPUs then, and all end at once.
func transferEach(path string, n int, stay bool) error {
	errs := make(chan error)
	for range n {
		go func() {
			runtime.LockOSThread() // so the thread ends here
			errs <- transfer("write", path, 1)
			for began := time.Now(); stay && time.Since(began) < time.Hour; {
			}
		}()
	}
	var all error
	for range n {
		all = errors.Join(all, <-errs)
	}
	return all
}

// child is a process that reads and writes when it is told to.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0])}
	// A thread that is traced would stop at the signal by which the runtime preempts it.
	c.cmd.Env = append(os.Environ(), childVariable+"=1", "GOMAXPROCS=16", "GODEBUG=asyncpreemptoff=1")
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// do has the child do n requests and returns the time that all took.
func (c *child) do(what, path string, n int) time.Duration {
	c.t.Helper()
	began := time.Now()
	if _, err := fmt.Fprintln(c.in, what, path, n); err != nil {
		c.t.Fatal(err)
	}
	said, err := c.out.ReadString('\n')
	if err != nil || strings.TrimSpace(said) != "<nil>" {
		c.t.Fatalf("%s: %v %s", what, err, said)
	}
	return time.Since(began)
}

// end ends the child.
func (c *child) end() {
	c.t.Helper()
	if err := c.in.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

// endTraced ends the child while somebody traces its threads: none of them is gone before all have ended.
func (c *child) endTraced() {
	c.t.Helper()
	runtime.LockOSThread() // which traces
	defer runtime.UnlockOSThread()
	traced := map[int]bool{}
	for _, stat := range c.stats() {
		if tid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil && tid != c.pid() {
			if err := unix.PtraceSeize(tid); err == nil { // else it has just ended
				traced[tid] = true
			}
		}
	}
	if len(traced) == 0 {
		c.t.Fatal("no thread of the child can be traced")
	}
	if err := c.in.Close(); err != nil {
		c.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for _, stat := range c.stats() {
		for ended := false; !ended; time.Sleep(time.Millisecond) {
			content, err := os.ReadFile(stat)
			if ended = err != nil || strings.Contains(string(content), ") Z "); !ended && time.Now().After(deadline) {
				c.t.Fatalf("the thread does not end: %s", content)
			}
		}
	}
	for tid := range traced {
		if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

// stats returns where the kernel tells of each thread.
func (c *child) stats() []string {
	c.t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.pid()))
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// device returns a block device that nothing else uses, and its name: the one that
// PROMSCOPE_TEST_DISK names, whose content is overwritten, or else a loop device.
func device(t *testing.T) (path, name string) {
	t.Helper()
	if path = os.Getenv("PROMSCOPE_TEST_DISK"); path != "" {
		return path, strings.TrimPrefix(path, "/dev/")
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		impossible(t, err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		impossible(t, err)
	}
	name = fmt.Sprintf("loop%d", n)
	path = "/dev/" + name
	backing, err := os.Create(t.TempDir() + "/disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backing.Close() })
	if err := backing.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		impossible(t, err)
	}
	t.Cleanup(func() { loop.Close() })
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(backing.Fd())); err != nil {
		impossible(t, err)
	}
	t.Cleanup(func() {
		if _, err := unix.IoctlRetInt(int(loop.Fd()), unix.LOOP_CLR_FD); err != nil {
			t.Error(err)
		}
	})
	return path, name
}

// impossible skips a test that the machine does not allow, unless the environment says that it must run.
func impossible(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("PROMSCOPE_REQUIRE_BPF") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func openCollector(tb testing.TB) *load.Collector {
	tb.Helper()
	c, err := (&Options{MaxProcesses: 1024}).open(loadtest.Environment(time.Second))
	return loadtest.Started(tb, "", c, err)
}
