package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

const nothingToScrape = noPresets + "scrape_configs: []\ncollectors: {http: {enabled: false}}\n"

// socketBack is until when a socket that went has to be there again.
const socketBack = 5 * time.Second

// awaitSocket polls over a new connection, as a probe does that finds the socket.
func (p *plugin) awaitSocket(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, within, "the socket", func() error {
		client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
		defer client.Close()
		_, err := client.Poll(t.Context())
		return err
	})
}

// logged waits until a line is in the log that often, and no more.
func (p *plugin) logged(t *testing.T, message string, n int) {
	t.Helper()
	eventually(t, 5*time.Second, "the log", func() error {
		if got := strings.Count(p.output.String(), message); got != n {
			return fmt.Errorf("%d lines with %q, want %d", got, message, n)
		}
		return nil
	})
}

// socketError is what the API says of the socket.
func (p *plugin) socketError(t *testing.T) string {
	t.Helper()
	_, body, err := get(t.Context(), p.web+"/api/v1/scope")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			SocketError string `json:"socket_error"`
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.SocketError
}

// awaitHealth waits until /-/healthy has that status, and returns what it says.
func (p *plugin) awaitHealth(t *testing.T, status int) (body string) {
	t.Helper()
	eventually(t, socketBack, "/-/healthy", func() error {
		got, text, err := get(t.Context(), p.web+"/-/healthy")
		if err == nil && got != status {
			err = fmt.Errorf("status %d (%s), want %d", got, text, status)
		}
		body = text
		return err
	})
	return body
}

// The socket is there for as long as promscope runs.
func TestSocketThatGoes(t *testing.T) {
	t.Parallel()
	p := startPlugin(t, nothingToScrape)
	dir := filepath.Dir(p.socket)
	const again = "The plugin socket was gone and was made again"
	for i, path := range []string{p.socket, dir, filepath.Dir(dir)} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		p.awaitSocket(t, socketBack)
		p.logged(t, again, i+1)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v, %v; want 0700", info.Mode().Perm(), err)
	}

	// Where something is in the way, everybody who asks hears of it.
	if err := os.Rename(p.socket, p.socket+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "promscope.sock is in the way"
	for name, got := range map[string]string{
		"/-/healthy":    p.awaitHealth(t, http.StatusServiceUnavailable),
		"/api/v1/scope": p.socketError(t),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q in it", name, got, want)
		}
	}
	for _, page := range []string{"/", "/scope"} {
		if _, body, err := get(t.Context(), p.web+page); err != nil || !strings.Contains(body, want) {
			t.Errorf("page %s does not say %q: %v", page, want, err)
		}
	}
	p.logged(t, want, 1)
	if content, err := os.ReadFile(p.socket); err != nil || string(content) != "precious" {
		t.Errorf("the file is %q, %v", content, err)
	}
	if err := os.Remove(p.socket); err != nil {
		t.Fatal(err)
	}
	p.awaitSocket(t, socketBack)
	p.awaitHealth(t, http.StatusOK)
	if got := p.socketError(t); got != "" {
		t.Errorf("the API still says %q", got)
	}
	p.logged(t, again, 3)
}

// One that was killed is followed by one that works within two seconds: of its own CPU time, since
// other tests have theirs.
func TestSocketAfterKill(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := startPlugin(t, nothingToScrape)
	p.awaitSocket(t, socketBack)
	p.kill()
	if _, err := os.Lstat(p.socket); err != nil {
		t.Fatalf("the socket of the one that was killed: %v", err)
	}
	next := &plugin{socket: p.socket}
	next.process = start(t, path, p.Args[1:]...)
	next.awaitSocket(t, 20*time.Second)
	if took := cpuTime(t, next.Process.Pid); took > 2*time.Second {
		t.Errorf("it worked after %s", took)
	}
}

// The root is mounted over, and the mount goes again; the directory that is mounted
// as the root is removed where it comes from, as happens to containers.
func TestSocketBelowMounts(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownProcesses|ownNetwork) {
		return
	}
	p := startPlugin(t, nothingToScrape)
	root := filepath.Dir(filepath.Dir(p.socket))
	if err := unix.Mount("none", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	p.awaitSocket(t, socketBack)
	if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	p.awaitSocket(t, socketBack)
	p.awaitHealth(t, http.StatusOK)

	source := t.TempDir()
	if err := unix.Mount(source, root, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	p.awaitSocket(t, socketBack)
	if err := os.RemoveAll(source); err != nil {
		t.Fatal(err)
	}
	if body := p.awaitHealth(t, http.StatusServiceUnavailable); !strings.Contains(body, "restart the container") {
		t.Errorf("/-/healthy names no remedy: %s", body)
	}
	if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	p.awaitSocket(t, socketBack)
	p.awaitHealth(t, http.StatusOK)
}

// systemd hears when promscope is ready, lives, reloads and ends (sd_notify(3)).
func TestSystemd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	hear := func() string {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(unhurried(10 * time.Second))); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, 1000)
		n, err := systemd.Read(message)
		if err != nil {
			t.Fatalf("systemd hears nothing: %v", err)
		}
		return string(message[:n])
	}
	// next is the next message that is no beat.
	next := func() string {
		for {
			if message := hear(); message != "WATCHDOG=1" {
				return message
			}
		}
	}
	p := startPluginIn(t, nothingToScrape, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=4000000"})
	if got := next(); got != "READY=1" {
		t.Fatalf("first systemd hears %q", got)
	}
	p.awaitSocket(t, time.Second)
	for range 2 {
		if got := hear(); got != "WATCHDOG=1" {
			t.Fatalf("then systemd hears %q", got)
		}
	}

	monotonic := func() int64 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return now.Nano() / 1000
	}
	before := monotonic()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	reloading, usec, _ := strings.Cut(strings.TrimSpace(next()), "\nMONOTONIC_USEC=")
	at, err := strconv.ParseInt(usec, 10, 64)
	if reloading != "RELOADING=1" || err != nil || at < before || at > monotonic() {
		t.Errorf("of a reload systemd hears %q, %q; want a time between %d and %d", reloading, usec, before, monotonic())
	}
	if got := next(); got != "READY=1" {
		t.Errorf("after a reload systemd hears %q", got)
	}
	p.interrupt(t)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("at the end systemd hears %q", got)
	}
}
