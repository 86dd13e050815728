package collectors

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/ebpf/collector"
)

// A collector that needs what was given up is off, and says why.
func TestGivenUp(t *testing.T) {
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	for _, tt := range []struct {
		needs, givenUp []string
		want           string
	}{
		{nil, []string{"CAP_BPF", "CAP_PERFMON"}, ""},
		{[]string{"CAP_BPF", "CAP_PERFMON"}, []string{"CAP_DAC_OVERRIDE"}, ""},
		{[]string{"CAP_BPF", "CAP_PERFMON"}, []string{"CAP_BPF"}, "CAP_BPF was given up at the start, since no collector needed it; restart promscope"},
		{[]string{"CAP_BPF", "CAP_PERFMON"}, []string{"CAP_BPF", "CAP_PERFMON"}, "CAP_BPF and CAP_PERFMON were given up at the start, since no collector needed them; restart promscope"},
	} {
		s := Settings{Definition: collector.Definition{Name: "costly", Capabilities: tt.needs}, Enabled: true, Options: newCostly()}
		c := Open([]Settings{s}, nil, tt.givenUp, machine, slog.New(slog.DiscardHandler), prometheus.NewRegistry())[0]
		got := ""
		if c.Err != nil {
			got = c.Err.Error()
		}
		if got != tt.want {
			t.Errorf("needs %v, without %v: %q, want %q", tt.needs, tt.givenUp, got, tt.want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
