// Package expr tells of a PromQL expression what can be told before it is evaluated:
// which labels it loses, whether it needs samples, and which variables its text has.
package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/promql/parser"
)

// A LabelDrop tells where and why an expression loses a label.
type LabelDrop struct {
	At     parser.Node // what drops it
	Reason string      // continues the sentence "… does not survive: "
	Hint   string      // what to write instead; may be empty
}

// LabelDropped tells why no element of the expression's result can ever carry the
// label. It returns nil as soon as one could: an expression that works must not be
// refused.
//
// It follows the PromQL engine's treatment of labels node by node; a test compares
// both on random expressions.
func LabelDropped(expr parser.Expr, label string) *LabelDrop {
	switch e := expr.(type) {
	case *parser.VectorSelector:
		return droppedInSelector(e, label)
	case *parser.MatrixSelector:
		return LabelDropped(e.VectorSelector, label)
	case *parser.SubqueryExpr:
		return LabelDropped(e.Expr, label)
	case *parser.ParenExpr:
		return LabelDropped(e.Expr, label)
	case *parser.StepInvariantExpr:
		return LabelDropped(e.Expr, label)
	case *parser.UnaryExpr:
		if e.Op == parser.SUB && isMetadata(label) {
			return metadataDropped(e, "a negation")
		}
		return LabelDropped(e.Expr, label)
	case *parser.AggregateExpr:
		return droppedInAggregation(e, label)
	case *parser.BinaryExpr:
		return droppedInBinary(e, label)
	case *parser.Call:
		return droppedInCall(e, label)
	}
	return &LabelDrop{At: expr, Reason: "a number has no labels"}
}

// isMetadata reports whether the label is one of those that describe what is
// measured, which PromQL drops wherever a value becomes something else.
func isMetadata(label string) bool {
	switch label {
	case model.MetricNameLabel, model.MetricTypeLabel, model.MetricUnitLabel:
		return true
	}
	return false
}

func metadataDropped(at parser.Node, what string) *LabelDrop {
	return &LabelDrop{At: at, Reason: what + " drops the metric name"}
}

func droppedInSelector(e *parser.VectorSelector, label string) *LabelDrop {
	for _, m := range e.LabelMatchers {
		if m.Name == label && matchesOnlyEmpty(m) {
			return &LabelDrop{At: e, Reason: fmt.Sprintf("the matcher %s selects series without it", m)}
		}
	}
	return nil
}

// matchesOnlyEmpty reports whether only a label that is not there satisfies the
// matcher. Of regular expressions it knows the usual spellings; another may
// make a rule that never gives anything, but is no mistake about labels.
func matchesOnlyEmpty(m *labels.Matcher) bool {
	switch m.Type {
	case labels.MatchEqual, labels.MatchRegexp:
		return m.Value == ""
	case labels.MatchNotRegexp:
		return m.Value == ".+"
	default:
		return false
	}
}

func droppedInAggregation(e *parser.AggregateExpr, label string) *LabelDrop {
	switch e.Op {
	case parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO:
		return LabelDropped(e.Expr, label) // they choose elements and leave them as they are
	case parser.COUNT_VALUES:
		value, ok := StringValue(e.Param)
		if ok && value == label && (!e.Without || !isMetadata(label) && !slices.Contains(e.Grouping, label)) {
			return nil
		}
	}
	op := e.Op.String()
	switch {
	case e.Without && isMetadata(label):
		return metadataDropped(e, op)
	case e.Without && slices.Contains(e.Grouping, label):
		return &LabelDrop{
			At:     e,
			Reason: fmt.Sprintf("%s without (%s) drops it", op, strings.Join(e.Grouping, ", ")),
			Hint:   fmt.Sprintf("leave %s out of the without clause", label),
		}
	case !e.Without && len(e.Grouping) == 0:
		return &LabelDrop{
			At:     e,
			Reason: op + " without a by clause drops all labels",
			Hint:   fmt.Sprintf("write %s by (%s) (…)", op, label),
		}
	case !e.Without && !slices.Contains(e.Grouping, label):
		return &LabelDrop{
			At:     e,
			Reason: fmt.Sprintf("%s by (%s) drops all other labels", op, strings.Join(e.Grouping, ", ")),
			Hint:   fmt.Sprintf("write %s by (%s) (…)", op, strings.Join(append(slices.Clone(e.Grouping), label), ", ")),
		}
	}
	return LabelDropped(e.Expr, label)
}

func droppedInBinary(e *parser.BinaryExpr, label string) *LabelDrop {
	left, right := e.LHS.Type() == parser.ValueTypeVector, e.RHS.Type() == parser.ValueTypeVector
	if !left && !right {
		return &LabelDrop{At: e, Reason: "a number has no labels"}
	}
	if isMetadata(label) && (e.ReturnBool || changesSchema(e.Op)) {
		// Both sides drop it, except when group_left or group_right fetches it back.
		if e.VectorMatching == nil || !slices.Contains(e.VectorMatching.Include, label) {
			return metadataDropped(e, e.Op.String())
		}
	}
	switch {
	case !right:
		return LabelDropped(e.LHS, label)
	case !left:
		return LabelDropped(e.RHS, label)
	}
	switch e.Op {
	case parser.LAND, parser.LUNLESS:
		return LabelDropped(e.LHS, label)
	case parser.LOR:
		l := LabelDropped(e.LHS, label)
		if l == nil || LabelDropped(e.RHS, label) == nil {
			return nil
		}
		return l
	}
	return droppedInJoin(e, label)
}

// changesSchema is the engine's changesMetricSchema: operators whose result is no
// longer what the metric's name says.
func changesSchema(op parser.ItemType) bool {
	switch op {
	case parser.ADD, parser.SUB, parser.DIV, parser.MUL, parser.POW, parser.MOD, parser.ATAN2:
		return true
	}
	return false
}

// droppedInJoin is about an operator between two vectors that are matched one to one
// or many to one. The result has the labels of the "many" side (of the left one,
// if one to one), minus what on() or ignoring() takes, plus what group_left() or
// group_right() fetches from the "one" side.
func droppedInJoin(e *parser.BinaryExpr, label string) *LabelDrop {
	m := e.VectorMatching
	listed := slices.Contains(m.MatchingLabels, label)
	many, one := e.LHS, e.RHS
	if m.Card == parser.CardOneToMany {
		many, one = e.RHS, e.LHS
	}
	switch {
	case slices.Contains(m.Include, label):
		if isMatched(m, label) {
			if l := LabelDropped(many, label); l != nil {
				return l
			}
		}
		return LabelDropped(one, label)
	case m.Card == parser.CardOneToOne && m.On != listed:
		return &LabelDrop{
			At:     e,
			Reason: fmt.Sprintf("%s %s drops it", e.Op, matchClause(m)),
			Hint:   fmt.Sprintf("keep the left side's labels with %s %s group_left ()", e.Op, matchClause(m)),
		}
	case isMatched(m, label):
		return droppedInMatch(e, many, one, label)
	}
	return LabelDropped(many, label)
}

// isMatched reports whether the label must be equal on both sides. Metric names are
// never part of ignoring().
func isMatched(m *parser.VectorMatching, label string) bool {
	listed := slices.Contains(m.MatchingLabels, label)
	if m.On {
		return listed
	}
	return !listed && !isMetadata(label)
}

// droppedInMatch is about a label that must be equal on both sides: one that a side
// can never have is absent from all pairs. But where a fill value stands for a side
// that is missing, the other one is enough.
func droppedInMatch(e *parser.BinaryExpr, many, one parser.Expr, label string) *LabelDrop {
	m := e.VectorMatching
	manyDrop, oneDrop := LabelDropped(many, label), LabelDropped(one, label)
	if m.FillValues.LHS != nil || m.FillValues.RHS != nil {
		if oneDrop == nil {
			return nil
		}
		return manyDrop
	}
	if manyDrop != nil || oneDrop == nil {
		return manyDrop
	}
	side := "right"
	if m.Card == parser.CardOneToMany {
		side = "left"
	}
	return &LabelDrop{
		At:     oneDrop.At,
		Reason: fmt.Sprintf("the %s side of %s has none (%s), but %s compares it", side, e.Op, oneDrop.Reason, compares(m)),
		Hint:   fmt.Sprintf("keep it on that side too, or match on the common labels only: %s on (…) %s ()", e.Op, grouping(m)),
	}
}

// matchClause prints the on() or ignoring() of a match.
func matchClause(m *parser.VectorMatching) string {
	if m.On {
		return fmt.Sprintf("on (%s)", strings.Join(m.MatchingLabels, ", "))
	}
	return fmt.Sprintf("ignoring (%s)", strings.Join(m.MatchingLabels, ", "))
}

// compares names what makes a label part of the match.
func compares(m *parser.VectorMatching) string {
	if m.On || len(m.MatchingLabels) > 0 {
		return matchClause(m)
	}
	return "a match without on ()"
}

func grouping(m *parser.VectorMatching) string {
	if m.Card == parser.CardOneToMany {
		return "group_right"
	}
	return "group_left"
}

func droppedInCall(e *parser.Call, label string) *LabelDrop {
	name := e.Func.Name
	switch name {
	case "label_replace":
		return droppedInLabelReplace(e, label)
	case "label_join":
		return droppedInLabelJoin(e, label)
	case "absent", "absent_over_time":
		return droppedInAbsent(e, label)
	case "vector", "scalar":
		return &LabelDrop{At: e, Reason: name + "() has no labels"}
	case "histogram_quantile", "histogram_fraction":
		if label == labels.BucketLabel {
			return &LabelDrop{At: e, Reason: name + "() drops it"}
		}
	}
	if isMetadata(label) && !keepsName(name) {
		return metadataDropped(e, name+"()")
	}
	for _, arg := range e.Args {
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			return LabelDropped(arg, label)
		}
	}
	return &LabelDrop{At: e, Reason: name + "() has no labels"}
}

// keepsName lists the functions whose result is still what the name says.
func keepsName(function string) bool {
	switch function {
	case "last_over_time", "first_over_time", "sort", "sort_desc", "sort_by_label", "sort_by_label_desc":
		return true
	}
	return false
}

func droppedInLabelReplace(e *parser.Call, label string) *LabelDrop {
	destination, ok1 := StringValue(e.Args[1])
	replacement, ok2 := StringValue(e.Args[2])
	source, ok3 := StringValue(e.Args[3])
	regex, ok4 := StringValue(e.Args[4])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil
	}
	before := LabelDropped(e.Args[0], label)
	if destination != label {
		return before
	}
	re, err := relabel.NewRegexp(regex)
	if err != nil {
		return nil // another check's business
	}
	if LabelDropped(e.Args[0], source) != nil { // the source is always the empty string
		match := re.FindStringSubmatchIndex("")
		if match == nil {
			return before
		}
		if len(re.ExpandString(nil, replacement, "", match)) > 0 {
			return nil
		}
		return &LabelDrop{At: e, Reason: fmt.Sprintf("label_replace() sets it to nothing, as there is no %q", source)}
	}
	if replacement != "" {
		return nil
	}
	if before != nil || regex == ".*" {
		return &LabelDrop{At: e, Reason: "label_replace() with an empty replacement drops it"}
	}
	return nil
}

func droppedInLabelJoin(e *parser.Call, label string) *LabelDrop {
	destination, ok1 := StringValue(e.Args[1])
	separator, ok2 := StringValue(e.Args[2])
	if !ok1 || !ok2 {
		return nil
	}
	if destination != label {
		return LabelDropped(e.Args[0], label)
	}
	sources := e.Args[3:]
	if separator != "" && len(sources) > 1 {
		return nil
	}
	for _, arg := range sources {
		source, ok := StringValue(arg)
		if !ok || LabelDropped(e.Args[0], source) == nil {
			return nil
		}
	}
	return &LabelDrop{At: e, Reason: "label_join() joins labels that are not there"}
}

// droppedInAbsent: what absent() gives carries the labels that its selector demands
// by equality, once each.
func droppedInAbsent(e *parser.Call, label string) *LabelDrop {
	name := e.Func.Name
	var matchers []*labels.Matcher
	switch arg := unwrapParens(e.Args[0]).(type) {
	case *parser.VectorSelector:
		matchers = arg.LabelMatchers
	case *parser.MatrixSelector:
		matchers = arg.VectorSelector.(*parser.VectorSelector).LabelMatchers
	default:
		return &LabelDrop{At: e, Reason: name + "() of an expression has no labels"}
	}
	seen, value := false, ""
	for _, m := range matchers {
		if m.Name != label || isMetadata(label) {
			continue
		}
		if m.Type == labels.MatchEqual && !seen {
			seen, value = true, m.Value
		} else {
			value = ""
		}
	}
	if value != "" {
		return nil
	}
	return &LabelDrop{
		At:     e,
		Reason: name + "() knows only labels that its selector demands with =",
	}
}

func unwrapParens(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// StringValue returns the value of a string literal.
func StringValue(e parser.Expr) (string, bool) {
	s, ok := unwrapParens(e).(*parser.StringLiteral)
	if !ok {
		return "", false
	}
	return s.Val, true
}
