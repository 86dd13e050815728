package mapping

import (
	"embed"
	"fmt"
	"path"
	"slices"

	"github.com/promscope/promscope/mapping/document"
)

// The presets are ordinary rule files.
//
//go:embed presets/*.yml
var presetFiles embed.FS

// presetsDir is where presets are embedded; it shows in their positions.
const presetsDir = "presets"

func presetPath(name string) string { return path.Join(presetsDir, name+".yml") }

// Presets returns the names of all presets. Metrics of the first ones come first
// on a node, so what everybody looks for precedes what few have.
func Presets() []string {
	return []string{
		"iowait", "http", "http_handlers", // what the machine and its servers do
		"client_golang", "client_java", "client_nodejs", "client_python", "process", // how the programs are
		"redis_exporter", "nginx_exporter",
		"prometheus", "alertmanager", "etcd", "coredns", "caddy", "traefik", "nats_exporter", "blackbox_exporter",
		"mongodb_exporter", "elasticsearch_exporter", "kafka_jmx", "envoy", "kubelet",
		"node_exporter", "process_exporter", "cadvisor",
	}
}

// PresetSource returns a preset's rule file as it is embedded, for those who want
// to see how a rule is written, and whether there is such a preset.
func PresetSource(name string) ([]byte, bool) {
	if !slices.Contains(Presets(), name) {
		return nil, false
	}
	content, err := presetFiles.ReadFile(presetPath(name))
	return content, err == nil
}

// Preset returns the rules of a preset. The list has no warnings: users cannot change a
// preset.
func Preset(name string, opts Options) ([]*Rule, document.List) {
	content, ok := PresetSource(name)
	if !ok {
		d := document.Diagnostic{
			Position: document.Position{File: presetPath(name)},
			Message:  fmt.Sprintf("unknown preset %q", name),
		}
		if s := document.Suggest(name, Presets()); s != "" {
			d = d.WithHint("did you mean %s?", s)
		}
		return nil, document.List{d}
	}
	rules, list := parseFile(presetPath(name), content, opts)
	for _, r := range rules {
		r.Preset = name
	}
	return rules, list.Errors()
}
