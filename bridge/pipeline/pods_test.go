package pipeline

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
)

// A process with the command line of a Kubernetes probe is taken for one, unless the
// configuration decides.
func TestPods(t *testing.T) {
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	probe := func(flag string) int {
		// The shell has its arguments in its command line, and waits.
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "read line", "scope-probe", flag)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
		for line := []string(nil); len(line) < 5; time.Sleep(time.Millisecond) {
			line, _ = machine.CmdLine(cmd.Process.Pid)
		}
		return cmd.Process.Pid
	}
	for _, test := range []struct {
		mode config.PodMode
		flag string // of the probe; none has polled if empty
		on   bool
		why  string
	}{
		{config.PodsAuto, "", false, "no probe has polled yet"},
		{config.PodsAuto, "--probe.docker=true", false, "has no --probe.kubernetes=true"},
		{config.PodsAuto, "--probe.kubernetes=true", true, "reports on Kubernetes"},
		{config.PodsOff, "--probe.kubernetes=true", false, "scope.pods is off"},
		{config.PodsOn, "--probe.docker=true", true, "scope.pods is on"},
	} {
		pods := newPods(machine, test.mode, slog.New(slog.DiscardHandler))
		if test.flag != "" {
			pods.AskProbe(probe(test.flag))
		}
		if on, why := pods.On(); on != test.on || !strings.Contains(why, test.why) {
			t.Errorf("%s with %s: %v, %s", test.mode, test.flag, on, why)
		}
	}
	pods := newPods(machine, config.PodsAuto, slog.New(slog.DiscardHandler))
	pods.AskProbe(os.Getpid())
	pods.configure(config.PodsOn)
	if on, _ := pods.On(); !on {
		t.Error("the new configuration says on")
	}
}
