package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestUptime(t *testing.T) {
	_, m := fixture(t)
	if got, err := m.uptime(); err != nil || got != hosttest.Uptime {
		t.Errorf("of a tree of files: %v, %v", got, err)
	}
	m.self.kernel = true // with a file that is not the kernel's
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	want := time.Duration(now.Nano())
	if got, err := m.uptime(); err != nil || got < want || got > want+time.Minute {
		t.Errorf("of the running kernel: %v, %v, want %v", got, err, want)
	}
}

// In a container of LXC the file says how long that has been up, and the start times
// of its processes are still those since the boot of the machine.
func TestAliveLXC(t *testing.T) {
	hosttest.Start(t, "lxc", syscall.CLONE_NEWNS)
}

// liveInLXC puts another file over uptime, as lxcfs does, and asks whether this process
// lives.
func liveInLXC() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	file, err := os.CreateTemp("", "uptime")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := fmt.Fprintln(file, "1.00 1.00"); err != nil {
		return err
	}
	if err := errors.Join(file.Close(), unix.Mount(file.Name(), "/proc/uptime", "", unix.MS_BIND, "")); err != nil {
		return err
	}
	m, err := New(Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	if !m.Alive("Process", strconv.Itoa(os.Getpid()), time.Now()) {
		return errors.New("this process is dead")
	}
	return nil
}
