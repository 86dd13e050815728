package http

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestObserver asks a server from the collector's own process and from another. Only the
// other's requests are traffic, on connections from before the collector and later, over IPv4,
// IPv6, and IPv4 on a socket of IPv6.
func TestObserver(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip(err)
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		for _, tt := range []struct{ listen, ask string }{{"127.0.0.1", "127.0.0.1"}, {"[::1]", "[::1]"}, {"", "127.0.0.1"}} {
			t.Run(fmt.Sprintf("%s at %s", tt.ask, tt.listen), func(t *testing.T) {
				port := portOf(freeAddress(t))
				address := tt.ask + ":" + port
				pid := startGo(t, tt.listen+":"+port)
				eventually(t, 5*time.Second, func() bool {
					conn, err := net.Dial("tcp", address)
					if err == nil {
						conn.Close()
					}
					return err == nil
				}, "nobody listens")
				before := dial(t, address)
				request(t, before, "/200")

				c, err := openAs(time.Second, Options{hookSet: hookSet, MaxProcesses: 100, MaxConnections: 1000, Ports: only(t, address)})
				loadtest.Require(t, loadtest.Required(hookSet), err)
				defer c.Close()
				request(t, before, "/200")
				later := dial(t, address)
				for range 3 {
					request(t, later, "/404")
				}
				got := gather(t, c, servers)[pid]
				if got.Own != 4 || got.Requests != 0 || got.InFlight != 0 || got.Unasked != 0 {
					t.Errorf("promscope alone has asked: %+v", got)
				}

				later.Close()
				closed := func() bool { _, err := bufio.NewReader(later).ReadByte(); return err != nil }
				eventually(t, time.Second, closed, "the connection stays")
				if out, err := exec.Command(curl, "-sS", "http://"+address+"/200").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				got = gather(t, c, servers)[pid]
				if got.Own != 4 || got.Requests != 1 || got.Codes["200"] != 1 {
					t.Errorf("curl has asked, too: %+v", got)
				}
				if _, ok := gather(t, c, servers)[os.Getpid()]; ok {
					t.Error("this process has served nothing")
				}
			})
		}
	})
}

// TestObserverEnds gives the port that promscope asked from to another process.
func TestObserverEnds(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip(err)
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		address := freeAddress(t)
		pid := startGo(t, address)
		c, err := openAs(time.Second, Options{hookSet: hookSet, MaxProcesses: 100, MaxConnections: 1000, Ports: only(t, address)})
		loadtest.Require(t, loadtest.Required(hookSet), err)
		defer c.Close()
		conn := dial(t, address)
		from := portOf(conn.LocalAddr().String())
		request(t, conn, "/200")
		conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT
		conn.Close()
		out, err := exec.Command(curl, "-sS", "--local-port", from, "http://"+address+"/200").CombinedOutput()
		if strings.Contains(string(out), "bind failed") {
			t.Skip("another connection was faster and has the port")
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := gather(t, c, servers)[pid]; got.Own != 1 || got.Requests != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// TestObserverPort asks two servers from one port at a time: one from the collector's own
// process, one from another. The kernel gives a port to several connections where it runs short
// of them.
func TestObserverPort(t *testing.T) {
	socat, err := exec.LookPath("socat")
	if err != nil {
		t.Skip(err)
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		asked, other := freeAddress(t), freeAddress(t)
		own, foreign := startGo(t, asked), startGo(t, other)
		c, err := openAs(time.Second, Options{hookSet: hookSet, MaxProcesses: 100, MaxConnections: 1000, Ports: only(t, asked, other)})
		loadtest.Require(t, loadtest.Required(hookSet), err)
		defer c.Close()
		dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if controlErr := raw.Control(func(fd uintptr) {
				if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
					err = unix.Bind(int(fd), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
				}
			}); controlErr != nil {
				return controlErr
			}
			return err
		}}
		conn, err := dialer.Dial("tcp4", asked)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request(t, conn, "/200")

		cmd := exec.Command(socat, "-t5", "-", "TCP4:"+other+",reuseaddr,bind="+conn.LocalAddr().String())
		cmd.Stdin = strings.NewReader("GET /404 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "HTTP/1.1 404") {
			t.Fatalf("%v: %s", err, out)
		}
		request(t, conn, "/200")
		got := gather(t, c, servers)
		if p := got[own]; p.Own != 2 || p.Requests != 0 {
			t.Errorf("the server that this process asked: %+v", p)
		}
		if p := got[foreign]; p.Own != 0 || p.Requests != 1 || p.Codes["404"] != 1 {
			t.Errorf("the server that another asked: %+v", p)
		}
	})
}
