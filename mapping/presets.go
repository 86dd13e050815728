package mapping

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/promscope/promscope/mapping/document"
)

// The presets are ordinary rule files.
//
//go:embed presets
var presetFiles embed.FS

// presetsDir is where presets are embedded; it shows in their positions.
const presetsDir = "presets"

func presetPath(name string) string { return path.Join(presetsDir, name+".yml") }

// Presets returns the names of all presets. Metrics of the first ones come first
// on a node, so what everybody looks for precedes what few have.
func Presets() []string { return append(DefaultPresets(), askedPresets()...) }

// DefaultPresets returns the presets that are in use where the configuration does not
// say otherwise. A node shows as many of their metrics as Topology.Budget says.
func DefaultPresets() []string {
	return []string{
		// What the servers say of themselves, or their exporters of them.
		"postgres_exporter", "mysqld_exporter", "redis_exporter", "etcd", "rabbitmq", "nats_exporter",
		"nginx_exporter", "haproxy", "apache_exporter", "caddy", "varnish_exporter", "squid_exporter",
		"bind_exporter", "coredns", "prometheus", "alertmanager", "blackbox_exporter",
		"traefik", "mongodb_exporter", "elasticsearch_exporter", "kafka_jmx", "envoy", "kubelet",
		"memcached_exporter", "pgbouncer_exporter", "php_fpm_exporter",
		// What the kernel sees of any server, how the programs are, and the host.
		"iowait", "exits", "pressure", "http", "wait", "disk", "tcp", "client_golang", "client_java", "client_nodejs", "process",
		"node_exporter", "cadvisor", "versions",
	}
}

// generalPresets are the default presets about any program, be it a server, an exporter or
// neither.
func generalPresets() []string {
	return []string{"http", "wait", "disk", "tcp", "client_golang", "client_java", "client_nodejs", "process"}
}

// askedPresets are in use only where the configuration asks for them.
func askedPresets() []string {
	return []string{
		"http_handlers", "tcp/full", "client_golang/full", "client_java/full", "client_nodejs/full", "client_python", "process_exporter",
	}
}

// fullSuffix ends the name of a preset with further rules about what another preset,
// its base, begins.
const fullSuffix = "/full"

// PresetBase returns the preset that another one adds rules to: client_golang for
// client_golang/full. It is "" for a preset that adds to none.
func PresetBase(name string) string {
	base, full := strings.CutSuffix(name, fullSuffix)
	if !full {
		return ""
	}
	return base
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
	opts.preset = true
	rules, list := parseFile(presetPath(name), content, opts)
	for _, r := range rules {
		r.Preset = name
		r.General = slices.Contains(generalPresets(), name)
	}
	return rules, list.Errors()
}
