package http

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestLinear sends over a network device that cannot gather: there the payload lies in the
// segment itself, as with many drivers, and not in page fragments, as on loopback.
func TestLinear(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make network devices")
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip(err)
	}
	c := newCollector(t, Options{})

	// The thread is not given back: it stays in its network namespace, and ends with the test.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=server", "PROMSCOPE_TEST_ADDRESS=:8080")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	pid := run(t, cmd)
	namespace := "/proc/" + strconv.Itoa(pid) + "/ns/net"

	if out, err := exec.Command(ip, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", strconv.Itoa(pid)).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	address := func(device, own string) {
		command(t, ".", ip, "address", "add", own+"/24", "dev", device)
		command(t, ".", ip, "link", "set", device, "up")
	}
	address("near", "10.111.0.1")
	noGather(t, "near")
	there, err := os.Open(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	here, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	address("far", "10.111.0.2")
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}

	const server = "10.111.0.2:8080"
	for range 100 {
		if conn, err := net.Dial("tcp", server); err == nil {
			conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	want := 0
	for _, m := range modes() {
		// In this thread: others are in the machine's own network.
		sent, err := m.sendSome(server, 0, 100, 1)
		if err != nil {
			t.Fatal(err)
		}
		want += sent["200"] + sent["404"] + sent["502"]
		if got := gather(t, c, servers)[pid]; got.Requests != want || got.InFlight != 0 {
			t.Errorf("%s: %d requests of %d, %d in flight", m.name, got.Requests, want, got.InFlight)
		}
	}
}

// noGather switches scatter and gather off for a device: ethtool -K <device> sg off.
func noGather(t *testing.T, device string) {
	t.Helper()
	const (
		getSG = 0x18 // ETHTOOL_GSG
		setSG = 0x19 // ETHTOOL_SSG
	)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	type value [2]uint32 // command, data
	request := struct {
		name [16]byte
		data *value
		_    [16]byte
	}{}
	copy(request.name[:], device)
	for _, v := range []*value{{setSG, 0}, {getSG, 1}} {
		request.data = v
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Fatal(errno)
		}
		if v[1] != 0 {
			t.Skip("the device insists on gathering")
		}
	}
}
