package plugin

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

// FuzzReport applies points with arbitrary strings and numbers: the report must be
// valid JSON which gives them back.
func FuzzReport(f *testing.F) {
	f.Add("promscope", "vm", "1", "m", "Label", "percent", 2.5, 1.0, 0.0, int64(0))
	f.Add("\xff\"\\", "v\nm", "\x00", "m\"", "\u2028", "\xc3", math.Inf(1), 9e16, math.NaN(), int64(math.MinInt64))
	f.Add("", "", "", "語", "", "x", -1.0, 5e-324, 1e-300, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, id, host, node, metric, label, format string, priority, value, maximum float64, at int64) {
		opts := options()
		opts.ID, opts.Label, opts.Description, opts.Host = id, id, label, host
		r := NewReport(opts, nil, discard(), nil)
		template := mapping.Template{ID: metric, Label: label, Format: mapping.Format(format), Priority: priority}
		when := time.Unix(0, at)
		points := []mapping.Point{}
		for _, topology := range mapping.Topologies() {
			points = append(points, mapping.Point{Topology: topology, ID: node, Template: template, Value: value, Max: maximum})
		}
		r.Apply(mapping.Result{At: when, Points: points})
		r.Publish(when)

		body := r.JSON()
		if !json.Valid(body) {
			t.Fatalf("no valid JSON: %s", body)
		}
		report, err := probetest.NewChecker(id, probetest.Options{}).Check(body)
		var found *probetest.Error
		if err != nil && !errors.As(err, &found) {
			t.Fatal(err)
		}
		for _, s := range r.Snapshot().Nodes {
			key := string([]rune(s.Key)) // JSON has one U+FFFD for each byte that is no UTF-8
			m := report.Metric(string(s.Topology), key, metric)
			if m == nil {
				t.Fatalf("%s node %q is lost: %s", s.Topology, key, body)
			}
			if len(m.Samples) != 1 || m.Samples[0].Value != value || m.Samples[0].Date.UnixNano() != at || m.Max <= 0 {
				t.Fatalf("%s node %q has %+v: %s", s.Topology, key, m, body)
			}
		}
	})
}
