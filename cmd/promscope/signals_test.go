package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A hangup while promscope starts is a reload once it has started.
func TestHangupAtStart(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{process: startCommand(t, exec.Command(path,
		"--scope.plugins-root="+t.TempDir(), "--web.listen-address=", "--config.file="+writeConfig(t, "scrape_configs: []\n")))}
	logged := func(part string) func() error {
		return func() error {
			if !strings.Contains(p.output.String(), part) {
				return fmt.Errorf("the log has no %q", part)
			}
			return nil
		}
	}
	eventually(t, 30*time.Second, "the first collector", logged("collector=http"))
	p.hangup(t)
	eventually(t, 30*time.Second, "the reload", logged("The configuration was loaded anew"))
}

// Whoever reads the log may go: promscope goes on.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	web := freeAddress(t)
	cmd := exec.Command(path, "--scope.plugins-root="+t.TempDir(), "--web.listen-address="+web, "--web.enable-lifecycle",
		"--config.file="+writeConfig(t, only()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "promscope is running") {
	}
	if err := errors.Join(lines.Err(), log.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // each logs a line
		resp, err := http.Post("http://"+web+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("a reload was answered with %s", resp.Status)
		}
	}
}
