package mapping

import (
	"strconv"
	"strings"

	"github.com/promscope/promscope/mapping/cgroup"
)

// Topology is one of Scope's node kinds, spelled as the report's JSON key.
type Topology string

// The topologies that a rule can put metrics on.
const (
	Host      Topology = "Host"
	Process   Topology = "Process"
	Container Topology = "Container"
	Pod       Topology = "Pod"
)

// Topologies returns all topologies, in the order in which they are shown.
func Topologies() []Topology { return []Topology{Host, Process, Container, Pod} }

// NodeKey returns the key of a node in the report. Host is the host name that
// the probe uses; id is a pid, a container id or a pod UID, and not looked at for
// a host. The key is literal: "vm;<host>", "vm;1234", "<64 hex>;<container>",
// "<uid>;<pod>".
func (t Topology) NodeKey(host, id string) string {
	switch t {
	case Host:
		return host + ";<host>"
	case Process:
		return host + ";" + id
	case Container:
		return id + ";<container>"
	case Pod:
		return id + ";<pod>"
	}
	return ""
}

// ParseNode reads the key or the id of a node by its form alone, as a person may write
// it. Host is the host name that the probe uses; "host" stands for it. The topology is
// "" if the text has no node's form.
func ParseNode(text, host string) (t Topology, id string) {
	if host != "" && (text == host || text == "host" || text == Host.NodeKey(host, "")) {
		return Host, ""
	}
	for _, t := range []Topology{Process, Container, Pod} {
		before, after, _ := strings.Cut(t.NodeKey(host, "\x00"), "\x00")
		id := strings.TrimSuffix(strings.TrimPrefix(text, before), after)
		if t.validID(id) {
			return t, id
		}
	}
	return "", ""
}

// keyword is the topology's name in a rule's node mapping.
func (t Topology) keyword() string {
	switch t {
	case Host:
		return "host"
	case Process:
		return "process"
	case Container:
		return "container"
	case Pod:
		return "pod"
	}
	return ""
}

// maxPID is the kernel's PID_MAX_LIMIT on 64 bits (include/linux/threads.h).
const maxPID = 1 << 22

// validID reports whether id can be the id of a node of the topology. Anything
// else would become a node that Scope does not know.
func (t Topology) validID(id string) bool {
	switch t {
	case Host:
		return id == ""
	case Process:
		if len(id) == 0 || len(id) > 7 || id[0] < '1' || id[0] > '9' {
			return false // no sign, no leading zero
		}
		pid, err := strconv.Atoi(id)
		return err == nil && pid <= maxPID
	case Container:
		return cgroup.IsContainerID(id)
	case Pod:
		return cgroup.IsPodUID(id)
	}
	return false
}

// Format says how Scope prints a value, in the report's spelling.
type Format string

// The formats that Scope knows. Scope scales none of them: a percent is 0 to
// 100, a file size is in bytes.
const (
	FormatNumber   Format = ""
	FormatPercent  Format = "percent"
	FormatFilesize Format = "filesize"
	FormatInteger  Format = "integer"
)

// Template is a metric template of the report, or the metadata template of a row: what
// Scope needs to draw it.
type Template struct {
	ID       string
	Label    string // includes the unit, for Scope prints none but %
	Format   Format
	Priority float64 // ascending order in the details panel; the first three are shown
	Row      bool    // a line of the Info section, not a metric
	Default  bool    // of a preset that nobody asked for: shown as far as Topology.Budget goes
	General  bool    // of a preset about any program: an exporter shows ExporterBudget of them
}

// ExporterBudget is how many general metrics an exporter shows of the presets that nobody
// asked for: it is a helper, and not the subject. What it says of a server on another
// machine, for want of the server's node, does not count.
const ExporterBudget = 3

// Budget is how many metrics a node shows of the presets that nobody asked for. The
// details panel shows three metrics before "+N", and Scope's bar has a button for each.
func (t Topology) Budget() int {
	if t == Host {
		return 12
	}
	return 6
}

// builtin is a metric that Scope's probe itself puts on a topology's nodes.
type builtin struct {
	id, label string
	priority  float64
}

// builtins returns the metrics of Scope 1.13.2 (MetricTemplates in probe/host,
// probe/process and probe/docker). A rule that used one's id would be merged into
// its series; one with its label or priority could not be told from it.
func (t Topology) builtins() []builtin {
	switch t {
	case Host:
		return []builtin{
			{"host_cpu_usage_percent", "CPU", 1},
			{"host_mem_usage_bytes", "Memory", 2},
			{"load1", "Load (1m)", 11},
		}
	case Process:
		return []builtin{
			{"process_cpu_usage_percent", "CPU", 1},
			{"process_memory_usage_bytes", "Memory", 2},
			{"open_files_count", "Open files", 3},
		}
	case Container, Pod:
		return []builtin{
			{"docker_memory_usage", "Memory", 1},
			{"docker_cpu_total_usage", "CPU", 2},
		}
	}
	return nil
}
