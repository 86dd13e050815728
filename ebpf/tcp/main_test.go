package tcp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// childVariable tells the binary that it is a process whose connections are counted: "new", or
// the pid of the process whose network namespace it joins.
const childVariable = "PROMSCOPE_TCP_TEST_CHILD"

func TestMain(m *testing.M) {
	netns := os.Getenv(childVariable)
	if netns == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // which is in the namespace
	if err := enter(netns); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("0 <nil>") // it is ready
	a := &actor{}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := a.act(strings.Fields(in.Text()))
		fmt.Println(n, err) // the parent waits for it
	}
}

// enter brings the thread into a network namespace, a new one or that of a process.
func enter(netns string) error {
	if netns != "new" {
		fd, err := unix.Open("/proc/"+netns+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Setns(fd, unix.CLONE_NEWNET)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// answerBytes are what a server answers each connection with.
const answerBytes = 7

// actor does what it is told, on blocking sockets: what it counts is what it has done.
type actor struct {
	listener int
	held     []int
}

// act does one thing and returns a number.
func (a *actor) act(words []string) (int, error) {
	n := make([]int, len(words))
	for i, word := range words {
		n[i], _ = strconv.Atoi(word) // those that are no numbers are not used as such
	}
	switch words[0] {
	case "listen": // BACKLOG; returns the port
		return a.listen(n[1], unix.IPPROTO_TCP)
	case "listen-mptcp": // BACKLOG; returns the port
		return a.listen(n[1], unix.IPPROTO_MPTCP)
	case "listener": // returns the descriptor
		return a.listener, nil
	case "take": // PID DESCRIPTOR: has the listener of another process, as a forked worker has
		var err error
		a.listener, err = take(n[1], n[2])
		return 0, err
	case "held": // returns the descriptor of the first connection that it holds
		return a.held[0], nil
	case "take-held": // PID DESCRIPTOR: holds a connection of another process, as a fork of it does
		fd, err := take(n[1], n[2])
		a.held = append(a.held, fd)
		return 0, err
	case "accept": // N HOW
		return a.accept(n[1], words[2])
	case "accept-changing": // N, and has other credentials from then on
		if _, err := a.accept(n[1], "hold"); err != nil {
			return 0, err
		}
		return 0, syscall.Setresuid(-1, 65534, -1) // all threads
	case "accept-apart": // N, in a thread with credentials of its own
		errs := make(chan error)
		go a.acceptApart(n[1], errs)
		return 0, <-errs
	case "connect": // PORT N BYTES HOW
		for range n[2] {
			if err := a.connect(n[1], n[3], words[4]); err != nil {
				return 0, err
			}
		}
		return 0, nil
	case "fail": // PORT N HOW: connects that make no connection
		for range n[2] {
			if err := fail(n[1], words[3]); err != nil {
				return 0, err
			}
		}
		return 0, nil
	case "collide": // PORT: gives up a connect, after another one has failed that has no port but the same
		return 0, collide(n[1])
	case "write": // BYTES, on each connection that is held
		for _, fd := range a.held {
			if err := write(fd, n[1]); err != nil {
				return 0, err
			}
		}
		return 0, nil
	case "drain": // BYTES, from each connection that is held
		for _, fd := range a.held {
			for left := n[1]; left > 0; {
				got, err := unix.Read(fd, make([]byte, min(left, 64<<10)))
				if err != nil || got == 0 {
					return 0, fmt.Errorf("read %d: %w", got, err)
				}
				left -= got
			}
		}
		return 0, nil
	case "close": // all that it holds
		for _, fd := range a.held {
			if err := unix.Close(fd); err != nil {
				return 0, err
			}
		}
		a.held = nil
		return 0, nil
	case "unlisten":
		return 0, unix.Close(a.listener)
	case "retransmits": // of the sockets that it holds
		sum := 0
		for _, fd := range a.held {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				return 0, err
			}
			sum += int(info.Total_retrans)
		}
		return sum, nil
	case "roundtrips": // of the sockets that it holds, in microseconds, once all is acknowledged
		sum := 0
		for _, fd := range a.held {
			for {
				info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				if err != nil {
					return 0, err
				}
				if info.Unacked == 0 {
					sum += int(info.Rtt)
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		return sum, nil
	case "counter": // FILE GROUP NAME of /proc/net, in its namespace
		return counter(words[1], words[2], words[3])
	case "slow": // makes lo drop most of what comes fast
		for _, command := range []string{"ip link set lo mtu 1500", "tc qdisc add dev lo root tbf rate 100mbit burst 16k limit 30k"} {
			words := strings.Fields(command)
			if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
				return 0, fmt.Errorf("%s: %w %s", command, err, strings.TrimSpace(string(out)))
			}
		}
		return 0, nil
	}
	return 0, errors.New("no such thing to do: " + words[0])
}

// take returns a descriptor of what another process has under its own.
func take(pid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, fd, 0)
}

func (a *actor) listen(backlog, protocol int) (int, error) {
	var err error
	if a.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol); err != nil {
		return 0, err
	}
	if err := unix.Bind(a.listener, loopback(0)); err != nil {
		return 0, err
	}
	if err := unix.Listen(a.listener, backlog); err != nil {
		return 0, err
	}
	address, err := unix.Getsockname(a.listener)
	if err != nil {
		return 0, err
	}
	return address.(*unix.SockaddrInet4).Port, nil
}

func loopback(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// accept accepts n connections. It holds them, resets them, or serves them: then it returns the
// bytes that it was sent.
func (a *actor) accept(n int, how string) (int, error) {
	sum := 0
	for range n {
		fd, _, err := unix.Accept4(a.listener, unix.SOCK_CLOEXEC)
		if err != nil {
			return 0, err
		}
		switch how {
		case "hold":
			a.held = append(a.held, fd)
			continue
		case "reset":
			err = reset(fd)
		case "serve":
			var got int
			if got, err = readAll(fd); errors.Is(err, unix.ECONNRESET) {
				err = unix.Close(fd)
				break
			}
			sum += got
			if err == nil {
				err = errors.Join(write(fd, answerBytes), unix.Close(fd))
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// acceptApart accepts n connections in a thread that is given credentials of its own, as each thread
// is when a process changes its capabilities. The thread stays, for they are gone with it.
func (a *actor) acceptApart(n int, errs chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // the first thread's are the process's
		go a.acceptApart(n, errs)
		select {}
	}
	err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	if err == nil {
		_, err = a.accept(n, "hold")
	}
	errs <- err
	select {}
}

// connect makes a connection, writes on it, and ends it: with a close, when the server has
// answered, or a reset. Or it holds it; and so if the server resets it.
func (a *actor) connect(port, bytes int, how string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// The server may reset it before the call returns.
	if err := unix.Connect(fd, loopback(port)); err != nil && (how != "lose" || !errors.Is(err, unix.ECONNRESET)) {
		return err
	}
	if err := write(fd, bytes); err != nil {
		return err
	}
	switch how {
	case "hold", "lose":
		a.held = append(a.held, fd)
		return nil
	case "reset":
		return reset(fd)
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return err
	}
	if _, err := readAll(fd); err != nil {
		return err
	}
	return unix.Close(fd)
}

// fail makes a connect that fails in the way given.
func fail(port int, how string) error {
	kind, want := unix.SOCK_STREAM|unix.SOCK_CLOEXEC, map[string]error{
		"refused": unix.ECONNREFUSED, "timeout": unix.ETIMEDOUT, "abandoned": unix.EINPROGRESS, "shutdown": unix.EINPROGRESS,
	}[how]
	if how == "abandoned" || how == "shutdown" {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
		return err
	}
	if err := unix.Connect(fd, loopback(port)); !errors.Is(err, want) {
		return fmt.Errorf("the connect that fails: %w", err)
	}
	if how == "shutdown" {
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
			return err
		}
	}
	return unix.Close(fd)
}

// collide has a connect that waits, and one from the same port to the same address.
func collide(port int) error {
	from := loopback(0)
	for _, want := range []error{unix.EINPROGRESS, unix.EADDRNOTAVAIL} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, from); err != nil {
			return err
		}
		if from, err = unix.Getsockname(fd); err != nil {
			return err
		}
		if err := unix.Connect(fd, loopback(port)); !errors.Is(err, want) {
			return fmt.Errorf("the connect that fails: %w", err)
		}
	}
	return nil
}

func reset(fd int) error {
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	return unix.Close(fd)
}

func write(fd, n int) error {
	for n > 0 {
		wrote, err := unix.Write(fd, make([]byte, n))
		if err != nil {
			return err
		}
		n -= wrote
	}
	return nil
}

func readAll(fd int) (int, error) {
	buffer := make([]byte, 64<<10)
	for sum := 0; ; {
		n, err := unix.Read(fd, buffer)
		if n <= 0 || err != nil {
			return sum, err
		}
		sum += n
	}
}

// counter returns what /proc/net/snmp or netstat says: lines of names and of values take turns.
func counter(file, group, name string) (int, error) {
	content, err := os.ReadFile("/proc/thread-self/net/" + file)
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if fields[0] != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := range names {
			if names[i] == name {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, file)
}

// child is a process that does what it is told.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a process in the network namespace of another, or in a new one.
func startChild(t *testing.T, beside *child) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0])}
	netns := "new"
	if beside != nil {
		netns = beside.pid()
	} else {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	}
	c.cmd.Env = append(os.Environ(), childVariable+"="+netns)
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
	err = c.cmd.Start()
	loadtest.Require(t, os.Getenv("PROMSCOPE_REQUIRE_BPF") == "1", err) // a namespace takes CAP_SYS_ADMIN
	t.Cleanup(func() {
		_ = c.in.Close()
		_ = c.cmd.Wait() // it may have been waited for
	})
	c.done()
	return c
}

func (c *child) pid() string { return strconv.Itoa(c.cmd.Process.Pid) }

// begin has the child begin something.
func (c *child) begin(what string, arguments ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, append([]any{what}, arguments...)...); err != nil {
		c.t.Fatal(err)
	}
}

// done waits until the child has done what it began, and returns the number that it says.
func (c *child) done() int {
	c.t.Helper()
	n, err := c.tryDone()
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *child) tryDone() (n int, err error) {
	said, err := c.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	number, failure, _ := strings.Cut(strings.TrimSpace(said), " ")
	if failure != "<nil>" {
		return 0, errors.New(failure)
	}
	return strconv.Atoi(number)
}

func (c *child) do(what string, arguments ...any) int {
	c.t.Helper()
	c.begin(what, arguments...)
	return c.done()
}

// end ends the child, with all that it holds.
func (c *child) end() {
	c.t.Helper()
	if err := c.in.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

func start(tb testing.TB, hookSet string) *load.Collector {
	tb.Helper()
	o := defaultOptions()
	o.hookSet = hookSet
	c, err := o.open(loadtest.Environment(time.Second))
	return loadtest.Started(tb, hookSet, c, err)
}
