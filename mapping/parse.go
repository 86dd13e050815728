package mapping

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

// LoadFile reads the rules of a file of the form "rules: […]".
func LoadFile(path string, opts Options) ([]*Rule, document.List) {
	content, err := document.ReadFile(path)
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

// rawFile is a rule file as YAML has it.
type rawFile struct {
	Rules yaml.Node `yaml:"rules"`
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

// rawRule is a rule as YAML has it.
type rawRule struct {
	Metric    string    `yaml:"metric"`
	Row       string    `yaml:"row"`
	Value     string    `yaml:"value"`
	Label     string    `yaml:"label"`
	Format    string    `yaml:"format"`
	Max       *float64  `yaml:"max"`
	Priority  *float64  `yaml:"priority"`
	Top       *int      `yaml:"top"`
	Bottom    *int      `yaml:"bottom"`
	Threshold *float64  `yaml:"threshold"`
	Expr      string    `yaml:"expr"`
	Node      yaml.Node `yaml:"node"`
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
