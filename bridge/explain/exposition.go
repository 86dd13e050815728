package explain

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/scrape"
)

// expositionTarget gives series out of a file the labels that a scrape would.
type expositionTarget struct {
	labels      labels.Labels
	honorLabels bool
	relabel     []*relabel.Config

	dropped []labels.Labels // what relabelling took out of the last exposition, or renamed
}

// exposedSample is a series of an exposition with its value.
type exposedSample struct {
	labels labels.Labels
	value  float64
}

// parse reads an exposition in Prometheus's text format, or in OpenMetrics, which
// tells by its last line.
func (t *expositionTarget) parse(content []byte) ([]exposedSample, error) {
	format := "text/plain"
	if bytes.HasSuffix(bytes.TrimSpace(content), []byte("\n# EOF")) {
		format = "application/openmetrics-text"
	} else if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(bytes.Clone(content), '\n') // editors leave it out
	}
	parser, err := textparse.New(content, format, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	t.dropped = nil
	var samples []exposedSample
	for {
		entry, err := parser.Next()
		switch {
		case errors.Is(err, io.EOF):
			return samples, nil
		case err != nil:
			return nil, fmt.Errorf("after %d series: %w", len(samples), err)
		case entry != textparse.EntrySeries:
			continue
		}
		_, _, value := parser.Series()
		var exposed labels.Labels
		parser.Labels(&exposed)
		if l, kept := t.label(exposed); kept {
			samples = append(samples, exposedSample{l, value})
		}
	}
}

// label puts the target's labels on a series, and relabels it; false if that drops
// it.
func (t *expositionTarget) label(exposed labels.Labels) (labels.Labels, bool) {
	b := labels.NewBuilder(exposed)
	scrape.AddTargetLabels(b, exposed, t.labels, t.honorLabels)
	if len(t.relabel) == 0 {
		return b.Labels(), true
	}
	before := b.Labels()
	kept := relabel.ProcessBuilder(b, t.relabel...)
	after := b.Labels()
	if !kept || before.Get(model.MetricNameLabel) != after.Get(model.MetricNameLabel) {
		t.dropped = append(t.dropped, before)
	}
	return after, kept
}
