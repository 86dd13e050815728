package ruletest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/internal/memstore"
)

// A target is an endpoint whose expositions a test gives.
type target struct {
	labels labels.Labels
	last   time.Time
	series map[string]labels.Labels // of the last exposition
}

// scrape appends the samples of an exposition in Prometheus's text format. Series
// that were in the last one but are not in this one end.
func (t *target) scrape(store *memstore.Store, at time.Time, text string) error {
	if !t.last.IsZero() && !at.After(t.last) {
		return errors.New("expositions of a target must be in ascending order of time")
	}
	t.last = at
	p, err := textparse.New([]byte(text), "text/plain", nil, textparse.ParserOptions{})
	if err != nil {
		return fmt.Errorf("parsing exposition: %w", err)
	}
	seen := map[string]labels.Labels{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("parsing exposition: %w", err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := p.Series()
		var exposed labels.Labels
		p.Labels(&exposed)
		l := t.label(exposed)
		seen[l.String()] = l
		store.Append(l, at, parser.SequenceValue{Value: value})
	}
	for name, l := range t.series {
		if _, ok := seen[name]; !ok {
			store.AppendStale(l, at)
		}
	}
	t.series = seen
	return nil
}

// label adds the target's labels to those of a series, as a scrape does with
// honor_labels off.
func (t *target) label(exposed labels.Labels) labels.Labels {
	b := labels.NewBuilder(exposed)
	var clashes []labels.Label
	t.labels.Range(func(l labels.Label) {
		if value := exposed.Get(l.Name); value != "" {
			clashes = append(clashes, labels.Label{Name: l.Name, Value: value})
		}
		b.Set(l.Name, l.Value)
	})
	// If exported_job is taken too, job becomes exported_exported_job: the shorter
	// name first.
	slices.SortStableFunc(clashes, func(x, y labels.Label) int { return len(x.Name) - len(y.Name) })
	for _, l := range clashes {
		name := model.ExportedLabelPrefix + l.Name
		for b.Get(name) != "" {
			name = model.ExportedLabelPrefix + name
		}
		b.Set(name, l.Value)
	}
	return b.Labels()
}
