package explain

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape"
)

// Each reason for which a series lacks the labels of a process has a sentence with the
// labels that decided.
func TestWhose(t *testing.T) {
	target := func(withheld string, l ...string) *scrape.TargetStatus {
		return &scrape.TargetStatus{Job: "j", Labels: labels.FromStrings(append(l, "job", "j", "instance", "i")...), Withheld: withheld}
	}
	own := target("", "target_pid", "7", "target_host", "this")
	for _, test := range []struct {
		name   string
		series []string
		target *scrape.TargetStatus
		want   string
	}{
		{"the target's own", []string{"job", "j", "target_pid", "7", "target_host", "this"}, own, ""},
		{"promscope's own", []string{"job", "promscope"}, &scrape.TargetStatus{Job: "promscope"}, ""},
		{"of no target", nil, nil, ""},
		{
			"pushed", []string{"job", "j", "exported_instance", "db7"}, own,
			`It speaks of somebody else than the process that answers, by exported_instance="db7": it has no target_pid, target_host and the like.`,
		},
		{
			"federated with honor_labels", []string{"job", "node", "instance", "db7"}, nil,
			`It speaks of somebody else than the process that answers, by job="node" and instance="db7", which no target has: it has no target_pid, target_host and the like.`,
		},
		{
			"remote", []string{"job", "j"}, target(""),
			"The target has no target_pid, target_host and the like: the process that answers is not on this machine, is behind a proxy or a tunnel, or may not be seen.",
		},
		{
			"in a namespace of its own", []string{"job", "j", "target_pid", "7"}, target("", "target_pid", "7"),
			`The target has no target_host: the process that answers, target_pid="7", is not in the host's network namespace.`,
		},
		{
			"another machine's", []string{"job", "j", "target_pid", "7"}, target("it says so", "target_pid", "7"),
			"The target has no target_host: it says so.",
		},
		{
			"another process's", []string{"job", "j"}, target("it says so"),
			"The target has no target_pid, target_host and the like: it says so.",
		},
	} {
		if got := whose(labels.FromStrings(test.series...), test.target); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
