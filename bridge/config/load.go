package config

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

//go:embed default.yml
var defaultJobs []byte

// Load reads and checks a configuration file and the rule files that it names.
// The list holds all errors and warnings; with an error the config is nil.
func Load(path string) (*Config, document.List) { return load(path, document.ReadFile, nil) }

// LoadTyped is Load where the types of metrics are known, as mapping.Options.Type has them. The
// configuration may come out of a pipe: it is read once.
func LoadTyped(path string, types func(metric string) model.MetricType) (*Config, document.List) {
	return load(path, os.ReadFile, types)
}

func load(path string, read func(name string) ([]byte, error), types func(metric string) model.MetricType) (*Config, document.List) {
	content, err := read(path)
	if err != nil {
		return nil, document.List{{
			Position: document.Position{File: path},
			Message:  fmt.Sprintf("reading the configuration: %v", errors.Unwrap(err)),
		}}
	}
	return parse(path, content, types)
}

// Default returns the configuration that is in force without a file.
func Default() (*Config, document.List) { return Parse("", nil) }

// Parse is Load for a file that has been read already. Its name is used in
// messages, and its directory for relative file names.
func Parse(name string, content []byte) (*Config, document.List) { return parse(name, content, nil) }

func parse(name string, content []byte, types func(metric string) model.MetricType) (*Config, document.List) {
	doc, err := document.Parse(name, content)
	if err != nil {
		var list document.List
		if !errors.As(err, &list) {
			list = document.List{{Position: document.Position{File: name}, Message: err.Error()}}
		}
		return nil, list
	}
	l := &loader{doc: doc, content: content, raw: defaults(), types: types}
	if name != "" {
		l.dir = filepath.Dir(name)
	}
	c := l.load()
	list := l.found.Sorted()
	if list.Err() != nil {
		return nil, list
	}
	return c, list
}

// loader turns one document into a Config.
type loader struct {
	doc     *document.Document
	content []byte // of the document's file
	dir     string // likewise
	raw     rawConfig
	types   func(metric string) model.MetricType // nil if they are not known
	found   document.List
}

func (l *loader) load() *Config {
	l.decode(l.doc.Root, &l.raw)
	c := &Config{File: l.doc.Name, Global: l.raw.Global}
	l.checkGlobal()
	c.Scope = l.scope()
	c.Limits = l.limits()
	c.Collectors = l.collectors()
	c.Jobs = l.jobs()
	l.loadRules(c)
	l.warnOfSlowJobs(c)
	return c
}

// decode decodes strictly, and reports whether there was no error.
func (l *loader) decode(node *yaml.Node, out any) bool {
	list := l.doc.DecodeWith(node, out, explainUnknown)
	l.report(list...)
	return list.Err() == nil
}

func (l *loader) report(found ...document.Diagnostic) { l.found = append(l.found, found...) }

// require reports an error at a key of a section, or at the section if it has
// no such key, unless ok.
func (l *loader) require(ok bool, section *yaml.Node, key, format string, args ...any) {
	if ok {
		return
	}
	at := document.Field(section, key)
	if at == nil {
		at = section
	}
	l.report(l.doc.Errorf(at, "%s %s", key, fmt.Sprintf(format, args...)))
}

func (l *loader) checkGlobal() {
	global := document.Field(l.doc.Root, "global")
	interval, timeout := l.raw.Global.ScrapeInterval, l.raw.Global.ScrapeTimeout
	l.require(interval >= minInterval, global, "scrape_interval", "must be at least %s", minInterval)
	l.require(timeout > 0, global, "scrape_timeout", "must be positive")
}

// path resolves a file name of the configuration.
func (l *loader) path(name string) string { return config.JoinDir(l.dir, name) }

// explainUnknown says what is the matter with keys that are not ours.
func explainUnknown(owner reflect.Type, key string) (message, hint string, ok bool) {
	if owner == rawCollectors(defaultCollectors()).Type().Elem() {
		message = fmt.Sprintf("unknown collector %q", key)
		if meant := document.Suggest(key, collectorNames()); meant != "" {
			return message, fmt.Sprintf("did you mean %q?", meant), true
		}
		return message, "there are: " + strings.Join(collectorNames(), ", "), true
	}
	if remedy := prometheusOnly(key); remedy != "" {
		return key + " is Prometheus's, and not supported here", remedy, true
	}
	return "", "", false
}
