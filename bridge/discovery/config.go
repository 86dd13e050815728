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

// defaultListenerSDConfig returns an entry with the defaults. The ports are those that
// are registered for Prometheus exporters.
func defaultListenerSDConfig() ListenerSDConfig {
	return ListenerSDConfig{
		Ports:    port.Set{{First: 9090, Last: 9999}},
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
		if c.Asks(uint16(port)) {
			return true
		}
	}
	return false
}

// Asks reports whether listeners on a port are asked.
func (c *ListenerSDConfig) Asks(port uint16) bool {
	return c.Ports.Contains(port) && !c.ExcludePorts.Contains(port)
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
