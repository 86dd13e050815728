package http

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestObserver asks a server from the collector's own process and from another. Only the other's requests are traffic, on
// connections from before the collector and later, over IPv4, IPv6, and IPv4 on a socket of IPv6.
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
				requireBPF(t, required(hookSet), err)
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
		requireBPF(t, required(hookSet), err)
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
