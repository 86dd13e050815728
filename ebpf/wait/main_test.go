package wait

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
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// roleVariable makes the test binary one of the processes that a test needs beside itself.
const roleVariable = "PROMSCOPE_TEST_ROLE"

func TestMain(m *testing.M) {
	role, argument, _ := strings.Cut(os.Getenv(roleVariable), ":")
	var err error
	switch role {
	case "":
		os.Exit(m.Run())
	case "spin":
		for began := time.Now(); time.Since(began) < time.Hour; {
		}
	case "threads":
		err = threads()
	case "exec":
		err = execute()
	case "executed":
		err = executed(argument)
	case "read":
		err = read(argument)
	case "write":
		err = write(argument)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(0)
}

// child is a process of a test that plays a role.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, role string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = append(os.Environ(), roleVariable+"="+role, "GOMAXPROCS=5")
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait() // it was killed
	})
	return c
}

// says waits for a line of the child.
func (c *child) says(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("process %d says nothing: %v", c.Process.Pid, c.out.Err())
	}
	return c.out.Text()
}

// tell writes a line to the child.
func (c *child) tell(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// awaitLine waits for a line of the test.
func awaitLine() error {
	_, err := os.Stdin.Read(make([]byte, 1))
	return err
}

// stop stops a child, and waits until each of its threads is.
func (c *child) stop(t *testing.T) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		stopped := true
		for _, stat := range matches(t, fmt.Sprintf("/proc/%d/task/*/stat", c.Process.Pid)) {
			content, err := os.ReadFile(stat)
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(content), ") ")
			stopped = stopped && strings.HasPrefix(after, "T")
		}
		if stopped {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d does not stop", c.Process.Pid)
}

func matches(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// schedstat is what the kernel says of a thread (Documentation/scheduler/sched-stats.rst).
type schedstat struct {
	ran, waited time.Duration
	times       int
}

func readSchedstat(path string) (s schedstat, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	_, err = fmt.Sscan(string(content), &s.ran, &s.waited, &s.times)
	return s, err
}

// schedstats returns that of each thread of a process, or of all threads of the machine, by path.
func schedstats(t *testing.T, pid string) map[string]schedstat {
	t.Helper()
	all := map[string]schedstat{}
	for _, path := range matches(t, "/proc/"+pid+"/task/*/schedstat") {
		s, err := readSchedstat(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has exited
		}
		if err != nil {
			t.Skip(err)
		}
		all[path] = s
	}
	return all
}

func waitedOf(t *testing.T, c *child) (sum time.Duration) {
	t.Helper()
	for _, s := range schedstats(t, strconv.Itoa(c.Process.Pid)) {
		sum += s.waited
	}
	return sum
}

// pin keeps this thread, and what it starts, on the last CPU.
func pin() error {
	var one unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	return unix.SchedSetaffinity(0, &one)
}

// startPinned starts a child all of whose threads share the last CPU.
func startPinned(t *testing.T, role string) *child {
	t.Helper()
	var all unix.CPUSet
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if err := pin(); err != nil {
		t.Fatal(err)
	}
	c := start(t, role)
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	return c
}

// threads has three threads that share a CPU and exit. It says which, and what the kernel has
// counted of their waits.
func threads() error {
	runtime.LockOSThread() // the first thread, which never exits
	if err := awaitLine(); err != nil {
		return err
	}
	var (
		done   sync.WaitGroup
		spun   sync.WaitGroup
		looked sync.WaitGroup
		mu     sync.Mutex
		waited time.Duration
		tids   []int
		errs   []error
	)
	spun.Add(3)
	looked.Add(3)
	for range 3 {
		done.Add(1)
		go func() {
			defer done.Done()
			runtime.LockOSThread() // and the thread exits with it
			err := pin()
			for began := time.Now(); time.Since(began) < 600*time.Millisecond; {
			}
			// From here on they sleep, but for one at a time: on an emulated CPU to look takes long.
			spun.Done()
			spun.Wait()
			mu.Lock()
			s, statErr := readSchedstat("/proc/thread-self/schedstat")
			waited += s.waited
			tids = append(tids, unix.Gettid())
			errs = append(errs, err, statErr)
			mu.Unlock()
			looked.Done()
			looked.Wait()
		}()
	}
	done.Wait()
	fmt.Println(waited.Nanoseconds(), tids[0], tids[1], tids[2])
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return awaitLine()
}

// execute has a thread that is not the first one execute a program, when both have waited for a CPU:
// it for so much longer that the difference would be a wait of seconds.
func execute() error {
	runtime.LockOSThread() // the first thread
	if err := waitForCPU(400 * time.Millisecond); err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := waitForCPU(1800 * time.Millisecond); err != nil {
			failed <- err
			return
		}
		waited, err := waitedElsewhere()
		if err != nil {
			failed <- err
			return
		}
		if err := os.Setenv(roleVariable, fmt.Sprintf("executed:%d", waited.Nanoseconds())); err != nil {
			failed <- err
			return
		}
		failed <- syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}()
	return <-failed
}

// waitedElsewhere returns what the other threads of this process have waited for a CPU.
func waitedElsewhere() (sum time.Duration, err error) {
	paths, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		if path == fmt.Sprintf("/proc/self/task/%d/schedstat", unix.Gettid()) {
			continue
		}
		s, err := readSchedstat(path)
		if err != nil {
			return 0, err
		}
		sum += s.waited
	}
	return sum, nil
}

// executed is the program. It has waited for a CPU itself when it says what the threads had that are gone.
func executed(gone string) error {
	runtime.LockOSThread()
	if err := waitForCPU(400 * time.Millisecond); err != nil {
		return err
	}
	fmt.Println(gone)
	return awaitLine()
}

// waitForCPU has this thread run until it has waited for so long for a CPU that it shares.
func waitForCPU(least time.Duration) error {
	began, err := readSchedstat("/proc/thread-self/schedstat")
	for s := began; err == nil && s.waited-began.waited < least; {
		s, err = readSchedstat("/proc/thread-self/schedstat")
	}
	return err
}

// read reads from a file around the kernel's cache, from four threads. It says how long the
// reads took, without the time that the threads ran or waited for a CPU: all that is left is
// the disk.
func read(path string) error {
	if err := awaitLine(); err != nil {
		return err
	}
	var (
		done sync.WaitGroup
		mu   sync.Mutex
		disk time.Duration
		errs []error
	)
	for i := range 4 {
		done.Add(1)
		go func() {
			defer done.Done()
			took, err := readFor(path, int64(i)<<20, 1500*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			disk += took
			errs = append(errs, err)
		}()
	}
	done.Wait()
	fmt.Println(disk.Nanoseconds())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return awaitLine()
}

// write leaves a file that is still being written: this process waits for that when it has exited,
// as the last one that has the file.
func write(path string) error {
	const size = 8 << 20
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := file.Write(make([]byte, size)); err != nil {
		return err
	}
	if !strings.HasPrefix(path, "/dev/") {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return unix.SyncFileRange(int(file.Fd()), 0, size, unix.SYNC_FILE_RANGE_WRITE)
}

func readFor(path string, offset int64, least time.Duration) (disk time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	raw := make([]byte, 2*4096)
	buf := raw[4096-int(uintptr(unsafe.Pointer(&raw[0]))%4096):][:4096]
	stat, err := os.Open("/proc/thread-self/schedstat")
	if err != nil {
		return 0, err
	}
	defer stat.Close()
	for began := time.Now(); time.Since(began) < least; {
		before, from, err := look(stat)
		if err != nil {
			return disk, err
		}
		for range 16 {
			// Raw: the runtime has this thread wait for its turn behind a system call that took long.
			if _, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(offset), 0, 0); errno != 0 {
				return disk, errno
			}
		}
		after, to, err := look(stat)
		if err != nil {
			return disk, err
		}
		disk += to.Sub(from) - (after.ran - before.ran) - (after.waited - before.waited)
	}
	return disk, nil
}

// look reads what the kernel says of a thread, and the time when it said so.
func look(file *os.File) (s schedstat, at time.Time, err error) {
	var buf [128]byte
	n, _ := file.ReadAt(buf[:], 0) // io.EOF, as it is shorter
	at = time.Now()
	_, err = fmt.Sscan(string(buf[:n]), &s.ran, &s.waited, &s.times)
	return s, at, err
}

func newCollector(tb testing.TB) *load.Collector {
	tb.Helper()
	c, err := defaultOptions().open(loadtest.Environment(time.Second))
	return loadtest.Started(tb, "", c, err)
}

const (
	cpuSeconds = "promscope_wait_cpu_seconds_total"
	ioSeconds  = "promscope_wait_io_seconds_total"
)

// seconds returns the value of a process's series, 0 if there is none.
func seconds(all map[string][]*dto.Metric, name string, c *child) float64 {
	return loadtest.Find(all[name], "pid", strconv.Itoa(c.Process.Pid)).GetCounter().GetValue()
}

// within reports whether got differs from want by that part of it at most.
func within(got, want, part float64) bool { return got >= want*(1-part) && got <= want*(1+part) }
