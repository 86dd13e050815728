package plugin

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// The first to poll stays the probe while it lives and polls, whoever else does.
func TestProbe(t *testing.T) {
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	first, second := other.Process.Pid, os.Getpid()
	at := time.Now()
	var p probe
	polled := func(pid int, after time.Duration, want bool) {
		t.Helper()
		at = at.Add(after)
		if got := p.polled(pid, at); got != want {
			t.Errorf("polled: %v, want %v", got, want)
		}
	}
	polled(first, 0, true)
	polled(first, time.Second, false)
	polled(second, time.Second, false)
	polled(first, time.Second, false)
	polled(second, probeSilence-1, false)
	polled(second, 1, true) // the first one is silent
	polled(first, time.Second, false)
	polled(first, probeSilence, true)

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	polled(second, time.Second, true) // the first one is gone
	p.forget(first)
	polled(second, time.Second, false)
	p.forget(second)
	polled(second, time.Second, true)
}
