package mapping

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/cgroup"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/expr"
)

// Options say what checking a rule needs to know of a configuration. Interval and
// MaxWindow have no defaults.
type Options struct {
	// Interval returns the scrape interval of the series that the matchers can
	// select: the longest, if they may come from several jobs. A rule without
	// selectors has the interval of no matchers.
	Interval func(matchers []*labels.Matcher) time.Duration

	// Fed tells whether any job or collector can have series that the matchers
	// select, and if not, what to do about it. Nil means that it is not known, and a
	// rule that starves is not warned of.
	Fed func(matchers []*labels.Matcher) (fed bool, hint string)

	// Type returns what the # TYPE line of a metric says. Nil, and an empty answer, mean
	// that it is not known.
	Type func(metric string) model.MetricType

	// MaxWindow is the longest window (range, offset and enclosing subqueries)
	// that an expression may look back.
	MaxWindow time.Duration
}

// interval returns the longest interval that feeds the expression. The engine counts
// in milliseconds.
func (o Options) interval(e *expression) time.Duration {
	if len(e.selectors) == 0 {
		return max(o.Interval(nil), time.Millisecond)
	}
	longest := time.Millisecond
	for _, s := range e.selectors {
		longest = max(longest, o.Interval(s.node.LabelMatchers))
	}
	return longest
}

// A Rule puts the values of a PromQL expression on nodes. Rules are made by
// Parse, LoadFile and Preset only, and are not changed afterwards.
type Rule struct {
	// Metric is the id of the metric in the report; Label what Scope calls it. In
	// both, ${name} stands for the value of a label of each element.
	Metric, Label string

	// Row makes it a line of the node's Info section instead of a metric: Label, and a
	// text made of labels of the element. Metric is the row's id.
	Row bool

	Format Format

	// Max is the value that fills a node completely; 0 if it is not known in
	// advance. Percentages have 100.
	Max float64

	// Priority orders the metrics of a node. It is 0 for a rule that does not ask
	// for one, until NewSet assigns it.
	Priority float64

	// Top and Bottom say how many values of ${label} are shown at a time, the greatest or
	// the least. Both are 0 for as many as there is room for, the greatest first.
	Top, Bottom int

	// Topology and NodeLabel name the node: the topology, and the label whose value
	// is the node's id ("" for the host). Regex, if not nil, is matched against the
	// whole value; its first group is the id.
	Topology  Topology
	NodeLabel string
	Regex     *regexp.Regexp

	// Query is the expression as it is evaluated, with $__rate_interval filled in and
	// every byte where it was written. Expr is the same, parsed, with all durations
	// resolved; it prints nicer. Interval is the longest scrape interval that feeds
	// it; PromQL's lookback delta is three of them.
	Query    string
	Expr     parser.Expr
	Interval time.Duration

	Preset   string            // the preset that the rule comes from, "" for one of the user's
	Default  bool              // the preset is in use without being asked for
	Position document.Position // of the rule's first key

	priority           *float64 // as asked for
	metric, label      pattern
	text               pattern // of a row
	expression         *expression
	doc                *document.Document
	node               *yaml.Node
	metricAt, labelAt  *yaml.Node
	priorityAt, exprAt *yaml.Node
	remarks            document.List // and warnings about the rule
}

// cuts tells whether a node's id is only a part of a value of its label.
func (r *Rule) cuts(value string) bool {
	return r.Regex != nil || r.Topology == Container && strings.HasPrefix(value, "/")
}

// NodeID returns the id that a value of the node's label has: what the regex's first
// group finds, or the container whose cgroup the value is the path of, or the value
// itself. It is empty if there is none, and need not be valid.
func (r *Rule) NodeID(value string) string {
	switch {
	case !r.cuts(value):
		return value
	case r.Regex == nil:
		if c := cgroup.Parse(value); c.Whole {
			return c.Container
		}
	default:
		if groups := r.Regex.FindStringSubmatch(value); groups != nil {
			return groups[1]
		}
	}
	return ""
}

// String returns the topology and the metric, which together name a rule in a set.
func (r *Rule) String() string { return r.Topology.keyword() + "/" + r.Metric }

// Lookback is how long a sample stands for its series in the rule's expression.
func (r *Rule) Lookback() time.Duration { return r.expression.lookback() }

// LabelNames returns the labels which Metric and Label mention as ${name}, sorted.
func (r *Rule) LabelNames() []string { return r.metric.labelNames() }

// Warnings returns the warnings about the rule alone. NewSet gives those about rules
// beside others.
func (r *Rule) Warnings() document.List { return r.remarks.Warnings() }

// rawRule is a rule as YAML has it.
type rawRule struct {
	Metric   string    `yaml:"metric"`
	Row      string    `yaml:"row"`
	Value    string    `yaml:"value"`
	Label    string    `yaml:"label"`
	Format   string    `yaml:"format"`
	Max      *float64  `yaml:"max"`
	Priority *float64  `yaml:"priority"`
	Top      *int      `yaml:"top"`
	Bottom   *int      `yaml:"bottom"`
	Expr     string    `yaml:"expr"`
	Node     yaml.Node `yaml:"node"`
}

// rawFile is a rule file as YAML has it.
type rawFile struct {
	Rules yaml.Node `yaml:"rules"`
}

// rawNode is the mapping form of a rule's node.
type rawNode struct {
	Process   string `yaml:"process"`
	Container string `yaml:"container"`
	Pod       string `yaml:"pod"`
	Regex     string `yaml:"regex"`
}

// LoadFile reads the rules of a file of the form "rules: […]".
func LoadFile(path string, opts Options) ([]*Rule, document.List) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, document.List{{
			Position: document.Position{File: path},
			Message:  fmt.Sprintf("reading rules: %v", err),
		}}
	}
	return parseFile(path, content, opts)
}

func parseFile(name string, content []byte, opts Options) ([]*Rule, document.List) {
	doc, err := document.Parse(name, content)
	if err != nil {
		var list document.List
		if errors.As(err, &list) {
			return nil, list
		}
		return nil, document.List{{Position: document.Position{File: name}, Message: err.Error()}}
	}
	return Parse(doc, doc.Root, opts)
}

// Parse reads the rules at a node: a sequence of them, as in a configuration, or
// a mapping with the key rules, the root of a rule file. It returns the rules that
// are right, with all errors of the others; rules with errors must not be used.
// Warnings about rules are in the list as well.
func Parse(doc *document.Document, rules *yaml.Node, opts Options) ([]*Rule, document.List) {
	rules = document.Resolve(rules)
	if rules == nil {
		return nil, nil
	}
	var list document.List
	if rules.Kind == yaml.MappingNode {
		var file rawFile
		list = append(list, doc.Decode(rules, &file)...)
		rules = document.Resolve(document.Field(rules, "rules"))
		if rules == nil {
			return nil, list
		}
	}
	if rules.Kind != yaml.SequenceNode {
		if rules.Tag == "!!null" {
			return nil, list
		}
		return nil, append(list, doc.Errorf(rules, "rules must be a list"))
	}
	var parsed []*Rule
	for _, node := range rules.Content {
		r, problems := parseRule(doc, document.Resolve(node), opts)
		list = append(list, problems...)
		if r != nil {
			parsed = append(parsed, r)
			list = append(list, r.remarks...)
		}
	}
	return parsed, list
}

// parseRule reads one rule. It returns nil if there is an error.
func parseRule(doc *document.Document, node *yaml.Node, opts Options) (*Rule, document.List) {
	var raw rawRule
	list := doc.Decode(node, &raw)
	if node.Kind != yaml.MappingNode {
		return nil, list
	}
	r := &Rule{
		Metric:     raw.Metric,
		Label:      raw.Label,
		priority:   raw.Priority,
		doc:        doc,
		node:       node,
		metricAt:   document.Field(node, "metric"),
		labelAt:    document.Field(node, "label"),
		priorityAt: document.Field(node, "priority"),
		exprAt:     document.Field(node, "expr"),
		Position:   document.Position{File: doc.Name, Line: node.Line, Column: node.Column},
	}
	if len(list.Errors()) > 0 {
		return nil, list // what could not be read need not be called missing too
	}
	if raw.Row != "" {
		list = append(list, r.readRow(raw)...)
	} else if at := document.Field(node, "value"); at != nil {
		list = append(list, r.errorf(at, "value is for rules with row").
			WithHint("the value of a metric is what expr gives"))
	}
	list = append(list, r.readNames()...)
	list = append(list, r.readDrawing(raw)...)
	list = append(list, r.readChoice(raw)...)
	list = append(list, r.readNode(document.Field(node, "node"))...)
	list = append(list, r.readExpr(raw.Expr, opts)...)
	if len(list.Errors()) > 0 {
		return nil, list
	}
	r.remarks = r.lint(opts)
	return r, list
}

// errorf returns an error at one of the rule's values, or at the rule if the
// value is missing.
func (r *Rule) errorf(at *yaml.Node, format string, args ...any) document.Diagnostic {
	if at == nil {
		at = r.node
	}
	return r.doc.Errorf(at, format, args...)
}

// readRow reads what makes a rule a row.
func (r *Rule) readRow(raw rawRule) (list document.List) {
	if raw.Metric != "" {
		list = append(list, r.errorf(r.metricAt, "a rule has metric or row, not both"))
	}
	for _, key := range []string{"format", "max", "top", "bottom"} {
		if at := document.Field(r.node, key); at != nil {
			list = append(list, r.errorf(at, "%s is for metrics: a row has a text", key))
		}
	}
	r.Row, r.Metric, r.metricAt = true, raw.Row, document.Field(r.node, "row")
	at := document.Field(r.node, "value")
	var offset int
	var err error
	switch r.text, offset, err = parsePattern(raw.Value); {
	case err != nil:
		list = append(list, r.doc.ErrorAt(at, offset, "%v", err))
	case len(r.text.names) == 0:
		list = append(list, r.errorf(at, "value has no ${label}").
			WithHint("it says what the row shows, as in \"${version} · ${role}\""))
	}
	for _, field := range []string{"row", "label"} {
		if strings.Contains(map[string]string{"row": raw.Row, "label": raw.Label}[field], "${") {
			list = append(list, r.errorf(document.Field(r.node, field), "%s has a ${label}: in a row only value may", field))
		}
	}
	return list
}

// readNames reads metric and label.
func (r *Rule) readNames() (list document.List) {
	if r.Metric == "" {
		list = append(list, r.errorf(r.metricAt, "metric is missing"))
	}
	if strings.TrimSpace(r.Label) == "" {
		list = append(list, r.errorf(r.labelAt, "label is missing").
			WithHint("label is what Scope calls the metric; put the unit into it, as in \"HTTP p99 (ms)\""))
	}
	if len(list) > 0 {
		return list
	}
	var offset int
	var err error
	if r.metric, offset, err = parsePattern(r.Metric); err != nil {
		list = append(list, r.doc.ErrorAt(r.metricAt, offset, "%v", err))
	} else if i := slices.IndexFunc(r.metric.literals, func(s string) bool { return !validLiteral(s) }); i >= 0 {
		list = append(list, r.errorf(r.metricAt, "metric %q is not an id", r.Metric).
			WithHint("an id has letters, digits and underscores"))
	}
	if r.label, offset, err = parsePattern(r.Label); err != nil {
		list = append(list, r.doc.ErrorAt(r.labelAt, offset, "%v", err))
	}
	if len(list) > 0 {
		return list
	}
	inMetric, inLabel := r.metric.labelNames(), r.label.labelNames()
	for _, name := range inLabel {
		if !slices.Contains(inMetric, name) {
			list = append(list, r.errorf(r.metricAt, "label has ${%s}, but metric has not", name).
				WithHint("each value needs an id of its own: add ${%s} to metric", name))
		}
	}
	for _, name := range inMetric {
		if !slices.Contains(inLabel, name) {
			list = append(list, r.errorf(r.labelAt, "metric has ${%s}, but label has not", name).
				WithHint("Scope tells metrics apart by their labels: add ${%s} to label", name))
		}
	}
	return list
}

// formats are the words for format, in the order of the documentation.
func formats() []string { return []string{"percent", "filesize", "integer", "number"} }

// readDrawing reads how Scope is to draw the metric.
func (r *Rule) readDrawing(raw rawRule) (list document.List) {
	switch raw.Format {
	case "", "number":
		r.Format = FormatNumber
	case "percent", "filesize", "integer":
		r.Format = Format(raw.Format)
	default:
		d := r.errorf(document.Field(r.node, "format"), "unknown format %q", raw.Format)
		if s := document.Suggest(raw.Format, formats()); s != "" {
			d = d.WithHint("did you mean %s?", s)
		} else {
			d = d.WithHint("formats are %s", strings.Join(formats(), ", "))
		}
		list = append(list, d)
	}
	if r.Format == FormatPercent {
		r.Max = 100
	}
	if raw.Max != nil {
		r.Max = *raw.Max
		if !(r.Max > 0) || math.IsInf(r.Max, 0) {
			list = append(list, r.errorf(document.Field(r.node, "max"), "max must be a number above 0").
				WithHint("leave it out if there is no natural maximum"))
		}
	}
	if p := raw.Priority; p != nil {
		r.Priority = *p
		if math.IsNaN(*p) || math.IsInf(*p, 0) {
			list = append(list, r.errorf(r.priorityAt, "priority must be a finite number"))
		}
	}
	return list
}

// readChoice reads how many values of ${label} are shown, and which.
func (r *Rule) readChoice(raw rawRule) (list document.List) {
	for _, key := range []struct {
		name  string
		value *int
		to    *int
	}{{"top", raw.Top, &r.Top}, {"bottom", raw.Bottom, &r.Bottom}} {
		at := document.Field(r.node, key.name)
		switch {
		case key.value == nil:
		case len(r.metric.names) == 0:
			list = append(list, r.errorf(at, "%s is for rules with a ${label} in metric", key.name).
				WithHint("it says how many values of the label are shown at a time"))
		case *key.value < 1:
			list = append(list, r.errorf(at, "%s must be a number above 0", key.name))
		default:
			*key.to = *key.value
		}
	}
	if r.Top > 0 && r.Bottom > 0 {
		list = append(list, r.errorf(document.Field(r.node, "bottom"), "a rule has top or bottom, not both"))
	}
	return list
}

// readNode reads the node mapping: host, or {process: LABEL, regex: REGEX}.
func (r *Rule) readNode(node *yaml.Node) document.List {
	const form = "node is host, {process: LABEL}, {container: LABEL} or {pod: LABEL}, where LABEL holds the id"
	node = document.Resolve(node)
	if node == nil || node.Tag == "!!null" {
		return document.List{r.errorf(nil, "node is missing").WithHint(form)}
	}
	if node.Kind == yaml.ScalarNode {
		switch word := node.Value; word {
		case "host":
			r.Topology = Host
			return nil
		case "process", "container", "pod":
			return document.List{r.errorf(node, "%s needs the label that holds its id", word).
				WithHint("as in node: {%s: LABEL}", word)}
		default:
			d := r.errorf(node, "unknown node %q", word).WithHint(form)
			if s := document.Suggest(word, []string{"host", "process", "container", "pod"}); s != "" {
				d = d.WithHint("did you mean %s?", s)
			}
			return document.List{d}
		}
	}
	if host, _ := document.Entry(node, "host"); host != nil {
		return document.List{r.errorf(host, "host takes no label").WithHint("write node: host")}
	}
	var raw rawNode
	if list := r.doc.Decode(node, &raw); len(list) > 0 {
		return list
	}
	var list document.List
	for _, choice := range []struct {
		topology Topology
		label    string
	}{{Process, raw.Process}, {Container, raw.Container}, {Pod, raw.Pod}} {
		at, value := document.Entry(node, choice.topology.keyword())
		switch {
		case at == nil:
		case r.Topology != "":
			list = append(list, r.errorf(at, "a rule has one node: %s or %s", r.Topology.keyword(), choice.topology.keyword()))
		case !model.UTF8Validation.IsValidLabelName(choice.label):
			list = append(list, r.errorf(value, "%q is not a label name", choice.label))
			r.Topology = choice.topology
		default:
			r.Topology, r.NodeLabel = choice.topology, choice.label
		}
	}
	if r.Topology == "" {
		list = append(list, r.errorf(node, "node names no topology").WithHint(form))
	}
	if at := document.Field(node, "regex"); at != nil {
		// Anchored as Prometheus anchors the regexes of relabelling.
		re, err := regexp.Compile("^(?s:" + raw.Regex + ")$")
		switch {
		case err != nil:
			list = append(list, r.errorf(at, "regex: %v", regexError(err, raw.Regex)))
		case re.NumSubexp() == 0:
			list = append(list, r.errorf(at, "regex has no group").
				WithHint("its first group is the id, as in '.*([0-9a-f]{64}).*'; it has to match the whole value"))
		default:
			r.Regex = re
		}
	}
	return list
}

// regexError shows the pattern as it was written, not as it was compiled.
func regexError(err error, written string) error {
	if _, plain := regexp.Compile(written); plain != nil {
		return plain
	}
	return err
}

// readExpr reads the expression and checks it against the node mapping and the
// ${label}s.
func (r *Rule) readExpr(text string, opts Options) (list document.List) {
	if strings.TrimSpace(text) == "" {
		return document.List{r.errorf(r.exprAt, "expr is missing")}
	}
	e, problems := parseExpression(text, opts)
	for _, p := range problems {
		list = append(list, r.atExpr(p))
	}
	if len(list) > 0 {
		return list
	}
	r.expression = e
	r.Query, r.Expr, r.Interval = e.text, e.expr, e.interval
	if r.NodeLabel != "" {
		if l := expr.LabelDropped(e.expr, r.NodeLabel); l != nil {
			list = append(list, r.atLabelDrop(l, "the label %q, which names the %s, does not survive: %s",
				r.NodeLabel, r.Topology.keyword(), l.Reason))
		}
	}
	for _, name := range slices.Concat(r.metric.labelNames(), r.text.labelNames()) {
		if l := expr.LabelDropped(e.expr, name); l != nil {
			list = append(list, r.atLabelDrop(l, "the label %q, which ${%s} stands for, does not survive: %s", name, name, l.Reason))
		}
	}
	return list
}

// atExpr puts a problem to its place in the expression.
func (r *Rule) atExpr(p problem) document.Diagnostic {
	d := r.doc.ErrorAt(r.exprAt, p.offset, "%s", p.message)
	if p.hint != "" {
		d = d.WithHint("%s", p.hint)
	}
	return d
}

func (r *Rule) atLabelDrop(l *expr.LabelDrop, format string, args ...any) document.Diagnostic {
	return r.atExpr(problem{
		offset:  int(l.At.PositionRange().Start),
		message: fmt.Sprintf(format, args...),
		hint:    l.Hint,
	})
}

// NeedsNoSamples reports whether the rule can have values while no series that it
// selects has any. Such a rule has to be evaluated also where no sample arrives.
func (r *Rule) NeedsNoSamples() bool { return expr.NeedsNoSamples(r.Expr) }
