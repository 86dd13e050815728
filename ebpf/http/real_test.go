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

// TestEarlyHints asks HAProxy, whose server sends an interim response with each answer.
func TestEarlyHints(t *testing.T) {
	for _, program := range []string{"haproxy", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			requireServers(t, err)
		}
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		upstream, address := freeAddress(t), freeAddress(t)
		node := start(t, upstream, exec.Command("node", "-e", `
require("http").createServer((request, response) => {
	response.writeEarlyHints({link: "</style.css>; rel=preload; as=style"});
	response.end("ok");
}).listen(`+portOf(upstream)+`, "127.0.0.1");`))
		proxy := startHAProxy(t, address, upstream)
		conn := dial(t, address)
		reader := bufio.NewReader(conn)
		for range 10 {
			fmt.Fprint(conn, get)
			for code := "103"; code == "103"; {
				var err error
				if code, err = readResponse(reader); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		all := gather(t, c, servers)
		for name, pid := range map[string]int{"haproxy": proxy, "node": node} {
			got := all[pid]
			if got.Requests != 10 || got.Codes["200"] != 10 || got.InFlight != 0 {
				t.Errorf("%s: %+v", name, got)
			}
			if sum := got.Latency.GetSampleSum(); sum > 10*0.015 {
				t.Errorf("%s: the answers took %v s: those of others are in it", name, sum)
			}
		}
	})
}

// TestRefused posts to an nginx that answers 401 before it reads the body.
func TestRefused(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		requireServers(t, err)
	}
	const body = "INSERT INTO t VALUES (1)\n"
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		address := freeAddress(t)
		master := nginx(t, address, 1, `
			location = /refused { return 401 "no\n"; }
			location = /page { return 401; } # its own page: no 100 before it
			location = /200 { return 200 "fine"; }`)
		for _, tt := range []struct{ name, path, fields, body string }{
			{"body to come", "/refused", "", body},
			{"body that is a request", "/refused", "", get},
			{"100 was expected", "/refused", "Expect: 100-continue\r\n", body},
			{"100 was expected, and did not come", "/page", "Expect: 100-continue\r\n", body},
			{"100 was expected, and the body is no line", "/page", "Expect: 100-continue\r\n", "some text"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := total(gather(t, c, servers), family(t, master))
				conn := dial(t, address)
				reader := bufio.NewReader(conn)
				expect := func(code string) {
					t.Helper()
					got, err := readResponse(reader)
					if got == "100" { // this nginx sends it, and then discards the body
						got, err = readResponse(reader)
					}
					if err != nil || got != code {
						t.Fatalf("%s, %v; want %s", got, err, code)
					}
				}
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n", tt.path, tt.fields, len(tt.body))
				expect("401")
				fmt.Fprint(conn, tt.body)
				time.Sleep(500 * time.Millisecond)
				if got := total(gather(t, c, servers), family(t, master)); got.InFlight != 0 {
					t.Errorf("%d requests in flight while nothing is asked", got.InFlight)
				}
				fmt.Fprint(conn, strings.Replace(get, " / ", " /200 ", 1))
				expect("200")
				conn.(*net.TCPConn).Close()
				all := gather(t, c, servers)
				got := difference(total(all, family(t, master)), before)
				if got.Requests != 2 || got.Codes["401"] != 1 || got.Codes["200"] != 1 || got.Open != 0 || got.Unasked != 0 {
					t.Errorf("%+v", got)
				}
				sum := 0.0
				for _, pid := range family(t, master) {
					sum += all[pid].Latency.GetSampleSum()
				}
				if sum > 0.2 {
					t.Errorf("the answers took %v s: the pause is in it", sum)
				}
			})
		}
	})
}

// requireServers skips a test for want of a server, or fails where the environment says that all are there.
func requireServers(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("PROMSCOPE_REQUIRE_SERVERS") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}
