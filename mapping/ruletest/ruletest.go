package ruletest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/internal/memstore"
)

// defaultInterval is the scrape interval of a test file that names none.
const defaultInterval = 5 * time.Second

// maxWindow and limits are those of a configuration that says nothing.
const maxWindow = time.Hour

func limits() mapping.EvaluatorOptions {
	return mapping.EvaluatorOptions{MaxNodes: 5_000, MaxMetricsPerRule: 20, MaxSamples: 1_000_000, Timeout: 5 * time.Second}
}

// Report is the outcome of a test file.
type Report struct {
	Tests, Failed int

	// Problems are the file's own errors and those of its rules, or what the tests
	// found, at the places of the expectations.
	Problems document.List

	// Rules are the rules under test, and Expected how many expectations there are
	// for metrics of each, by Rule.String: a rule that is missing is not tested.
	Rules    []*mapping.Rule
	Expected map[string]int
}

// rawFile is a test file as YAML has it.
type rawFile struct {
	RuleFiles []string       `yaml:"rule_files"`
	Presets   []string       `yaml:"presets"`
	Rules     yaml.Node      `yaml:"rules"`
	Interval  model.Duration `yaml:"interval"`
	Tests     []yaml.Node    `yaml:"tests"`
}

// rawTest is one test.
type rawTest struct {
	Name        string      `yaml:"name"`
	InputSeries []rawSeries `yaml:"input_series"`
	Expositions []rawScrape `yaml:"expositions"`
	Expect      []yaml.Node `yaml:"expect"`
}

type rawSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type rawScrape struct {
	At     model.Duration    `yaml:"at"`
	Labels map[string]string `yaml:"labels"`
	Text   string            `yaml:"text"`
}

// Run runs the tests in a file. Only a context that ends keeps it from returning
// a report.
func Run(ctx context.Context, path string) (Report, error) {
	r := runner{report: Report{Expected: map[string]int{}}}
	var list document.List
	if r.doc, list = read(path); len(list) > 0 {
		r.complain(list...)
		return r.report, nil
	}
	err := r.runFile(ctx)
	return r.report, err
}

func read(path string) (*document.Document, document.List) {
	failed := func(err error) document.List {
		return document.List{{
			Position: document.Position{File: path},
			Message:  fmt.Sprintf("reading tests: %v", err),
		}}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, failed(err)
	}
	doc, err := document.Parse(path, content)
	if err != nil {
		var list document.List
		if errors.As(err, &list) {
			return nil, list
		}
		return nil, failed(err)
	}
	return doc, nil
}

// A runner runs the tests of one file.
type runner struct {
	doc    *document.Document
	set    *mapping.Set
	report Report

	interval time.Duration
}

func (r *runner) complain(d ...document.Diagnostic) {
	r.report.Problems = append(r.report.Problems, d...)
}

func (r *runner) runFile(ctx context.Context) error {
	raw := rawFile{Interval: model.Duration(defaultInterval)}
	r.complain(r.doc.Decode(r.doc.Root, &raw)...)
	if r.interval = time.Duration(raw.Interval); r.interval <= 0 {
		r.complain(r.doc.Errorf(document.Field(r.doc.Root, "interval"), "interval must be above 0"))
	}
	if len(r.report.Problems.Errors()) > 0 || !r.loadRules(raw) {
		return nil
	}
	for i := range raw.Tests {
		if err := r.runTest(ctx, document.Resolve(&raw.Tests[i])); err != nil {
			return err
		}
	}
	return nil
}

// loadRules makes the set under test.
func (r *runner) loadRules(raw rawFile) bool {
	opts := mapping.Options{
		Interval:  func([]*labels.Matcher) time.Duration { return r.interval },
		MaxWindow: maxWindow,
	}
	var rules []*mapping.Rule
	add := func(more []*mapping.Rule, list document.List) {
		rules = append(rules, more...)
		r.complain(list.Errors()...)
	}
	add(mapping.Parse(r.doc, document.Field(r.doc.Root, "rules"), opts))
	for i, name := range raw.RuleFiles {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(r.doc.Name), name)
		}
		matches, err := filepath.Glob(path)
		if err != nil || len(matches) == 0 {
			node := document.Resolve(document.Field(r.doc.Root, "rule_files")).Content[i]
			r.complain(r.doc.Errorf(node, "no rule file matches %q", name))
		}
		for _, match := range matches {
			add(mapping.LoadFile(match, opts))
		}
	}
	for _, name := range raw.Presets {
		add(mapping.Preset(name, opts))
	}
	set, list := mapping.NewSet(rules)
	r.complain(list.Errors()...)
	if r.report.Problems.Err() != nil {
		return false
	}
	r.set, r.report.Rules = set, set.Rules()
	return true
}

// origin is the time 0s of all tests.
func origin() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (r *runner) runTest(ctx context.Context, node *yaml.Node) error {
	r.report.Tests++
	before := len(r.report.Problems)
	defer func() {
		if len(r.report.Problems) > before {
			r.report.Failed++
		}
	}()
	var raw rawTest
	if list := r.doc.Decode(node, &raw); len(list) > 0 {
		r.complain(list...)
		return nil
	}
	store := &memstore.Store{}
	r.loadSeries(store, node, raw)
	r.loadExpositions(store, node, raw)
	if len(r.report.Problems) > before {
		return nil
	}
	evaluator := mapping.NewEvaluator(r.set, store, nil, nil, nil, limits())
	for i := range raw.Expect {
		if err := r.compare(ctx, evaluator, document.Resolve(&raw.Expect[i])); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) loadSeries(store *memstore.Store, node *yaml.Node, raw rawTest) {
	for i, s := range raw.InputSeries {
		if err := store.Load(s.Series+" "+s.Values, origin(), r.interval); err != nil {
			at := document.Resolve(document.Field(node, "input_series")).Content[i]
			r.complain(r.doc.Errorf(at, "%v", err))
		}
	}
}

func (r *runner) loadExpositions(store *memstore.Store, node *yaml.Node, raw rawTest) {
	targets := map[string]*target{}
	for i, scrape := range raw.Expositions {
		l := labels.FromMap(scrape.Labels)
		t := targets[l.String()]
		if t == nil {
			t = &target{labels: l}
			targets[l.String()] = t
		}
		if err := t.scrape(store, origin().Add(time.Duration(scrape.At)), scrape.Text); err != nil {
			at := document.Resolve(document.Field(node, "expositions")).Content[i]
			r.complain(r.doc.Errorf(at, "%v", err))
		}
	}
}
