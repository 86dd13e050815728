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
	opts := mapping.Options{Interval: c.interval, Type: l.types, MaxWindow: c.Limits.MaxWindow}
	if opts.MaxWindow <= 0 { // an error of its own
		opts.MaxWindow = time.Duration(defaults().Limits.MaxWindow)
	}
	if l.found.Err() == nil {
		opts.Fed = c.fed // else a job may be missing only because it is wrong
	}
	rules, list := mapping.Parse(l.doc, document.Field(l.doc.Root, "rules"), opts)
	l.report(list...)
	files := l.ruleFiles(c)
	// A file that is written after this is loaded with the next change.
	c.loaded = checksum(c.File, l.content, files)
	for _, path := range files {
		more, list := mapping.LoadFile(path, opts)
		l.report(list...)
		rules = append(rules, more...)
	}
	c.Presets = l.presets()
	for _, preset := range c.Presets {
		more, list := mapping.Preset(preset.Name, opts)
		l.report(list...)
		for _, r := range more {
			r.Default = preset.Default
		}
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
func (l *loader) ruleFiles(c *Config) []string {
	var files []string
	for _, node := range l.strings("rule_files") {
		if node.Value == "" {
			l.report(l.doc.Errorf(node, "empty file name"))
			continue
		}
		c.rulePatterns = append(c.rulePatterns, l.path(node.Value))
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

// presets returns the presets in use. A list is all of them. A mapping adds to the
// default ones and takes from them. Nothing said means the default ones.
func (l *loader) presets() []Preset {
	node := document.Resolve(document.Field(l.doc.Root, "presets"))
	if node != nil && node.Kind == yaml.SequenceNode {
		return l.listedPresets(node)
	}
	var raw rawPresets
	switch {
	case node == nil || node.ShortTag() == "!!null":
	case node.Kind != yaml.MappingNode:
		l.report(l.doc.Errorf(node, "presets must be a list of names, or changes to the default ones").
			WithHint("as in presets: {include: [process_exporter], exclude: [http]}"))
		return nil
	case !l.decode(node, &raw):
		return nil
	}
	include := l.presetNames(document.Field(node, "include"), raw.Include)
	exclude := l.presetNames(document.Field(node, "exclude"), raw.Exclude)
	var presets []Preset
	for _, name := range mapping.Presets() {
		asked := slices.Contains(include, name)
		byDefault := !asked && slices.Contains(mapping.DefaultPresets(), name)
		if (asked || byDefault) && !slices.Contains(exclude, name) {
			presets = append(presets, Preset{Name: name, Default: byDefault})
		}
	}
	return presets
}

// listedPresets returns the presets of a list, in its order. One that has further rules
// of another brings that along.
func (l *loader) listedPresets(list *yaml.Node) []Preset {
	var values []string
	if !l.decode(list, &values) {
		return nil
	}
	var presets []Preset
	for _, name := range l.presetNames(list, values) {
		if base := mapping.PresetBase(name); base != "" && !slices.Contains(values, base) {
			presets = append(presets, Preset{Name: base})
		}
		presets = append(presets, Preset{Name: name})
	}
	return presets
}

// presetNames returns the names of a list as far as there are such presets, each once.
func (l *loader) presetNames(list *yaml.Node, values []string) []string {
	known := mapping.Presets()
	var names []string
	for i, name := range values {
		node := document.Resolve(list).Content[i]
		switch {
		case slices.Contains(names, name):
			l.report(l.doc.Warnf(node, "the preset %q is listed twice", name))
		case !slices.Contains(known, name):
			l.report(unknownPreset(l.doc, node, known))
		default:
			names = append(names, name)
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
