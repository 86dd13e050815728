package mapping

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
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
	var names []string
	if err := filepath.WalkDir("presets", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(path, "presets/"), ".yml"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
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
		if n := len(r.Label); n > 20 && len(r.metric.names) == 0 && slices.Contains(DefaultPresets(), r.Preset) && r.Topology == Process {
			t.Errorf("%s: label %q has %d characters", r, r.Label, n)
		}
		if !strings.HasPrefix(r.Metric, "promscope_") {
			t.Errorf("%s: the id may be another plugin's", r)
		}
		if strings.Contains(r.Query, "_seconds") && r.Format != FormatPercent && !r.Row &&
			!strings.Contains(r.Label, "(ms)") && !strings.Contains(r.Label, "/s") && !strings.Contains(r.Label, "ms,") &&
			!strings.Contains(r.Label, "(cores)") {
			t.Errorf("%s: label %q tells no unit", r, r.Label)
		}
		if strings.Contains(r.Query, "rate(") && r.Format == FormatNumber && !strings.Contains(r.Label, "/s") &&
			!strings.Contains(r.Label, "ms") && !strings.Contains(r.Label, "(cores)") {
			t.Errorf("%s: label %q does not tell that it is a rate", r, r.Label)
		}
		for _, w := range r.Warnings() {
			t.Errorf("%s: %s", r, w.Message)
		}
	}
}

// TestGroupsWithoutProcess: a group that is named by a pid is no group on the host, also if
// the pid is not known.
func TestGroupsWithoutProcess(t *testing.T) {
	rules, _ := Preset("process_exporter", everyFive)
	set, list := NewSet(rules)
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	e := NewEvaluator(set, load(t, `
		namedprocess_namegroup_memory_bytes{target_host="this",memtype="resident",groupname="db"} 1
		namedprocess_namegroup_memory_bytes{target_host="this",memtype="resident",groupname="worker;7"} 2
		namedprocess_namegroup_memory_bytes{target_host="this",memtype="resident",groupname="worker;8@unknown"} 3`),
		nil, nil, nil, limits(EvaluatorOptions{}))
	var points []string
	for i := range rules {
		more, _ := evaluate(t, e, i, 0)
		points = append(points, more...)
	}
	if want := []string{"vm;<host> promscope_group_memory_db = 1"}; !slices.Equal(points, want) {
		t.Errorf("got %v, want %v", points, want)
	}
}

// TestPresetWindows: a preset has no errors at any interval, and its variables stand for
// windows that are kept.
func TestPresetWindows(t *testing.T) {
	const written = 5 * time.Minute // the longest window that a preset has without a variable
	for _, maxWindow := range []time.Duration{30 * time.Second, time.Hour} {
		opts := every(24 * time.Hour)
		opts.MaxWindow = maxWindow
		for _, r := range allPresets(t, opts) {
			for _, s := range r.expression.selectors {
				if s.window > max(maxWindow, written) {
					t.Errorf("%s of %s looks back %s where %s are kept", r, r.Preset, s.window, maxWindow)
				}
			}
		}
	}
}

// TestCopyOfAPreset: a preset's rates of what its exporter calls a gauge are right, also
// in a file that was copied from it.
func TestCopyOfAPreset(t *testing.T) {
	opts := everyFive
	opts.Type = func(string) model.MetricType { return model.MetricTypeGauge }
	source, _ := PresetSource("nats_exporter")
	_, list := parseText(t, string(source), opts)
	if len(list) == 0 || len(list.Errors()) > 0 || len(list.Warnings()) > 0 {
		t.Errorf("not only remarks: %v", list)
	}
	_, list = parseText(t, `[{metric: a, label: A, expr: "irate(gnatsd_varz_in_msgs[$__rate_interval])", node: host}]`, opts)
	if len(list.Warnings()) != 1 {
		t.Errorf("another expression: %v", list)
	}
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
