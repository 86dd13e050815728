package config

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// loadRules reads the rules: the configuration's own, those of its rule files,
// and then the presets. Earlier rules come first on a node.
func (l *loader) loadRules(c *Config) {
	opts := mapping.Options{Interval: c.interval, MaxWindow: c.Limits.MaxWindow}
	if opts.MaxWindow <= 0 { // an error of its own
		opts.MaxWindow = time.Duration(defaults().Limits.MaxWindow)
	}
	if l.found.Err() == nil {
		opts.Fed = c.fed // else a job may be missing only because it is wrong
	}
	rules, list := mapping.Parse(l.doc, document.Field(l.doc.Root, "rules"), opts)
	l.report(list...)
	for _, path := range l.ruleFiles() {
		more, list := mapping.LoadFile(path, opts)
		l.report(list...)
		rules = append(rules, more...)
	}
	c.Presets = l.presets()
	for _, name := range c.Presets {
		more, list := mapping.Preset(name, opts)
		l.report(list...)
		rules = append(rules, more...)
	}

	set, list := mapping.NewSet(rules)
	if l.found.Err() != nil {
		// What is doubtful about a set with rules missing may be due to that.
		list = list.Errors()
	}
	l.report(list...)
	c.Rules = set
}

// ruleFiles returns the files that the globs of rule_files match, each once.
func (l *loader) ruleFiles() []string {
	var files []string
	for _, node := range l.strings("rule_files") {
		if node.Value == "" {
			l.report(l.doc.Errorf(node, "empty file name"))
			continue
		}
		matches, err := filepath.Glob(l.path(node.Value))
		if err != nil {
			l.report(l.doc.Errorf(node, "the pattern %q is malformed", node.Value))
			continue
		}
		if len(matches) == 0 {
			l.report(l.doc.Warnf(node, "no rule file matches %q", node.Value).
				WithHint("looked for %s", l.path(node.Value)))
		}
		for _, match := range matches {
			if !slices.Contains(files, match) {
				files = append(files, match)
			}
		}
	}
	return files
}

// presets returns the names of the presets in use: all, unless the
// configuration lists some.
func (l *loader) presets() []string {
	known := mapping.Presets()
	if node := document.Field(l.doc.Root, "presets"); node == nil || node.ShortTag() == "!!null" {
		return known
	}
	var names []string
	for _, node := range l.strings("presets") {
		switch {
		case slices.Contains(names, node.Value):
			l.report(l.doc.Warnf(node, "the preset %q is listed twice", node.Value))
		case !slices.Contains(known, node.Value):
			l.report(unknownPreset(l.doc, node, known))
		default:
			names = append(names, node.Value)
		}
	}
	return names
}

func unknownPreset(doc *document.Document, node *yaml.Node, known []string) document.Diagnostic {
	d := doc.Errorf(node, "unknown preset %q", node.Value)
	if meant := document.Suggest(node.Value, known); meant != "" {
		return d.WithHint("did you mean %q?", meant)
	}
	return d.WithHint("there are: %s", strings.Join(known, ", "))
}

// strings returns the items of a top-level list of strings.
func (l *loader) strings(key string) []*yaml.Node {
	node := document.Field(l.doc.Root, key)
	var values []string
	if !l.decode(node, &values) || values == nil {
		return nil
	}
	items := make([]*yaml.Node, len(node.Content))
	for i, item := range node.Content {
		items[i] = document.Resolve(item)
	}
	return items
}
