package mapping

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// allPresets returns the rules of all presets.
func allPresets(t testing.TB, opts Options) []*Rule {
	t.Helper()
	var rules []*Rule
	for _, name := range Presets() {
		r, list := Preset(name, opts)
		if err := list.Err(); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r...)
	}
	return rules
}

func TestPresetFilesAreListed(t *testing.T) {
	files, err := filepath.Glob("presets/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yml"))
	}
	listed := slices.Sorted(slices.Values(Presets()))
	if !slices.Equal(names, listed) {
		t.Errorf("files %v\nlisted %v", names, listed)
	}
}

// TestPresetsGetAlong: all at once, since that is the default, at any interval
// that somebody may scrape at.
func TestPresetsGetAlong(t *testing.T) {
	for _, interval := range []time.Duration{500 * time.Millisecond, time.Second, 5 * time.Second, time.Minute} {
		opts := every(interval)
		set, list := NewSet(allPresets(t, opts))
		if len(list) > 0 {
			t.Fatalf("at %s: %v", interval, list)
		}
		priorities := map[string]string{}
		for _, r := range set.Rules() {
			k := fmt.Sprint(r.Topology, r.Priority)
			if other := priorities[k]; other != "" {
				t.Errorf("%s and %s have one priority", r, other)
			}
			priorities[k] = r.String()
		}
	}
}

// TestPresetHabits holds the rules for rules: an own prefix for ids, the unit in
// the label, no seconds, no rates of less than four intervals.
func TestPresetHabits(t *testing.T) {
	for _, r := range allPresets(t, everyFive) {
		if !strings.HasPrefix(r.Metric, "promscope_") {
			t.Errorf("%s: the id may be another plugin's", r)
		}
		if strings.Contains(r.Query, "_seconds") && r.Format != FormatPercent &&
			!strings.Contains(r.Label, "(ms)") && !strings.Contains(r.Label, "/s") && !strings.Contains(r.Label, "ms,") &&
			!strings.Contains(r.Label, "(cores)") {
			t.Errorf("%s: label %q tells no unit", r, r.Label)
		}
		if strings.Contains(r.Query, "rate(") && r.Format == FormatNumber && !strings.Contains(r.Label, "/s") &&
			!strings.Contains(r.Label, "ms") && !strings.Contains(r.Label, "(cores)") {
			t.Errorf("%s: label %q does not tell that it is a rate", r, r.Label)
		}
		for _, w := range r.Warnings() {
			if !knownRemark(r, w.Message) {
				t.Errorf("%s: %s", r, w.Message)
			}
		}
	}
}

// knownRemark lists the remarks on presets that are not to the point.
func knownRemark(r *Rule, message string) bool {
	switch r.Metric {
	case "promscope_node_tcp_retransmits", "promscope_node_major_faults",
		"promscope_nginx_dropped",
		"promscope_nats_in", "promscope_nats_out", "promscope_nats_slow",
		"promscope_mongodb_operations", "promscope_mongodb_latency",
		"promscope_elasticsearch_search_time", "promscope_envoy_errors":
		return strings.Contains(message, "by its name is no counter")
	}
	return false
}

func TestPresetSource(t *testing.T) {
	want, err := os.ReadFile("presets/iowait.yml")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := PresetSource("iowait"); !ok || string(got) != string(want) {
		t.Error("not the file")
	}
	for _, name := range []string{"nosuch", "../presets/iowait", ""} {
		if _, ok := PresetSource(name); ok {
			t.Errorf("there is no preset %q", name)
		}
	}
}
