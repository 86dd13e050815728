package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/ebpf/port"
)

// ListenerSDConfig is one entry of listener_sd_configs: which of this machine's
// listening TCP sockets are asked for an exposition.
type ListenerSDConfig struct {
	// Ports are the ports that are asked, less those in ExcludePorts.
	Ports        port.Set `yaml:"ports"`
	ExcludePorts port.Set `yaml:"exclude_ports,omitempty"`

	// Comm and Exe restrict by the owner of the socket: by its command name
	// (at most 15 bytes, as in /proc/PID/comm) and by the path of its executable.
	Comm Filter `yaml:"comm,omitempty"`
	Exe  Filter `yaml:"exe,omitempty"`

	// Path is the path of the URL that is asked, and then scraped: the job's
	// metrics_path if it is empty.
	Path string `yaml:"path,omitempty"`

	// Interval is how often sockets are looked for.
	Interval model.Duration `yaml:"interval"`
}

// defaultPorts are the ports of an entry that names none: those that are registered for
// exporters, and those where a server that has a preset serves its /metrics without being
// told to, or as its own documentation tells it to. Ports that any other server may have as
// well, such as Traefik's 8080, are not among them.
// https://github.com/prometheus/prometheus/wiki/Default-port-allocations
func defaultPorts() port.Set {
	return port.Set{
		{First: 9090, Last: 9999},   // exporters
		{First: 2019, Last: 2019},   // Caddy: its admin endpoint
		{First: 2379, Last: 2379},   // etcd: where its clients connect to
		{First: 2381, Last: 2381},   // etcd: --listen-metrics-urls, as kubeadm sets it
		{First: 7777, Last: 7777},   // prometheus-nats-exporter
		{First: 8404, Last: 8404},   // HAProxy: the example of its documentation
		{First: 10255, Last: 10255}, // kubelet: its read-only port
		{First: 15692, Last: 15692}, // RabbitMQ: rabbitmq_prometheus
	}
}

// defaultListenerSDConfig returns an entry with the defaults.
func defaultListenerSDConfig() ListenerSDConfig {
	return ListenerSDConfig{
		Ports:    defaultPorts(),
		Interval: model.Duration(5 * time.Second),
	}
}

// minListenerInterval bounds what looking for sockets costs: it reads a part
// of /proc each time.
const minListenerInterval = model.Duration(time.Second)

// UnmarshalYAML implements the unmarshalling of yaml.v2, as Prometheus's
// types do.
func (c *ListenerSDConfig) UnmarshalYAML(unmarshal func(any) error) error {
	*c = defaultListenerSDConfig()
	type plain ListenerSDConfig
	if err := unmarshal((*plain)(c)); err != nil {
		return err
	}
	return c.validate()
}

// validate checks the values against each other and against their bounds.
func (c *ListenerSDConfig) validate() error {
	switch {
	case len(c.Ports) == 0:
		return errors.New("ports must not be empty")
	case !slices.ContainsFunc(c.Ports, c.asksSome):
		return errors.New("exclude_ports leaves none of the ports")
	case c.Path != "" && !strings.HasPrefix(c.Path, "/"):
		return fmt.Errorf("path %q does not begin with a slash", c.Path)
	case c.Interval < minListenerInterval:
		return fmt.Errorf("interval %s is shorter than %s", c.Interval, minListenerInterval)
	}
	return nil
}

func (c *ListenerSDConfig) asksSome(r port.Range) bool {
	for port := int(r.First); port <= int(r.Last); port++ {
		if c.asks(uint16(port)) {
			return true
		}
	}
	return false
}

// asks reports whether listeners on a port are asked.
func (c *ListenerSDConfig) asks(port uint16) bool {
	return c.Ports.Contains(port) && !c.ExcludePorts.Contains(port)
}

// WhyUnasked says why the listeners on a port are not asked by any of the jobs; it is empty if
// they are.
func WhyUnasked(jobs []Job, port uint16) string {
	why := "no job has listener_sd_configs"
	for _, j := range jobs {
		for _, c := range j.Listeners {
			switch {
			case c.asks(port):
				return ""
			case c.Ports.Contains(port):
				return fmt.Sprintf("exclude_ports of the job %q has port %d", j.Name, port)
			}
			why = fmt.Sprintf("port %d is none of the ports of listener_sd_configs", port)
		}
	}
	return why
}

// admits reports whether the owner of a socket passes Comm and Exe. An owner
// that cannot be seen has empty names: it passes unless something must match.
func (c *ListenerSDConfig) admits(comm, exe string) bool {
	return c.Comm.admits(comm) && c.Exe.admits(exe)
}

// NamesOwners reports whether the owner of a socket has to match something.
func (c *ListenerSDConfig) NamesOwners() bool { return len(c.Comm.Include)+len(c.Exe.Include) > 0 }

// Filter admits strings by regular expressions, which match whole strings as
// in relabelling.
type Filter struct {
	Include []relabel.Regexp `yaml:"include,omitempty"` // none: everything
	Exclude []relabel.Regexp `yaml:"exclude,omitempty"`
}

// admits reports whether s matches one of Include, if there are any, and none
// of Exclude.
func (f Filter) admits(s string) bool {
	matches := func(re relabel.Regexp) bool { return re.MatchString(s) }
	if len(f.Include) > 0 && !slices.ContainsFunc(f.Include, matches) {
		return false
	}
	return !slices.ContainsFunc(f.Exclude, matches)
}
