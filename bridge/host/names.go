package host

import (
	"os"
	"slices"
	"strings"
)

// NameSource says where a host name comes from.
type NameSource string

// The sources of a host name, in the order in which they win.
const (
	NameConfigured  NameSource = "configuration"     // the flag or the configuration file
	NameEnvironment NameSource = "environment"       // SCOPE_HOSTNAME of this process
	NameProbeEnv    NameSource = "probe_environment" // SCOPE_HOSTNAME of the probe that polls
	NameProbeUTS    NameSource = "probe_uts"         // host name in the probe's UTS namespace, or its /etc/hostname
	NameInitUTS     NameSource = "init_uts"          // host name in process 1's UTS namespace, or its /etc/hostname
	NameHostname    NameSource = "hostname"          // host name of this process
)

// String returns the source in a user's words.
func (s NameSource) String() string {
	switch s {
	case NameConfigured:
		return "--scope.host or scope.host"
	case NameEnvironment:
		return "SCOPE_HOSTNAME"
	case NameProbeEnv:
		return "SCOPE_HOSTNAME of the probe"
	case NameProbeUTS:
		return "the host name of the probe"
	case NameInitUTS:
		return "the host name of process 1"
	case NameHostname:
		return "the host name of promscope"
	}
	return string(s)
}

// scopeHostname is the variable that gives Scope's probe its host name.
const scopeHostname = "SCOPE_HOSTNAME"

// NameCandidate is what one source calls the host.
type NameCandidate struct {
	Name   string
	Source NameSource
}

// NameInputs are what the names depend on besides the machine.
type NameInputs struct {
	Configured string                   // "" if the user named none
	Getenv     func(name string) string // os.Getenv by default
	ProbePID   int                      // the probe that polls, from the plugin's Peer; 0 if there is none yet
}

// Names returns what this host may be called in Scope, the winner first. The right name
// is the one that the probe uses. Under any other, the metrics would end up on a second
// host. Sources that say nothing or may not be read are left out. The last one, this
// process's host name, is always there.
func (m *Machine) Names(in NameInputs) []NameCandidate {
	if in.Getenv == nil {
		in.Getenv = os.Getenv
	}
	var names []NameCandidate
	add := func(source NameSource, name string) {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, NameCandidate{Name: name, Source: source})
		}
	}
	add(NameConfigured, in.Configured)
	add(NameEnvironment, in.Getenv(scopeHostname))
	if in.ProbePID > 0 {
		add(NameProbeEnv, m.Environ(in.ProbePID, scopeHostname))
		add(NameProbeUTS, m.utsName(in.ProbePID))
	}
	add(NameInitUTS, m.utsName(1))
	hostname, err := m.hostname()
	if err != nil || hostname == "" {
		hostname = "localhost"
	}
	add(NameHostname, hostname)
	return names
}

// Disagreeing returns the candidates that are worth a warning because they call the host
// something else than names[0], each name once. Guesses do not count if the user or the
// probe itself gave the name: a container has a host name of its own. Nor does the UTS
// name of a probe that has its name from its environment.
func Disagreeing(names []NameCandidate) []NameCandidate {
	probeEnv := slices.ContainsFunc(names, func(c NameCandidate) bool { return c.Source == NameProbeEnv })
	var others []NameCandidate
	for _, c := range names[1:] {
		same := func(o NameCandidate) bool { return o.Name == c.Name }
		switch {
		case same(names[0]) || slices.ContainsFunc(others, same):
		case guess(c.Source) && !guess(names[0].Source):
		case c.Source == NameProbeUTS && probeEnv:
		default:
			others = append(others, c)
		}
	}
	return others
}

// guess reports whether a source says nothing of the probe.
func guess(s NameSource) bool { return s == NameInitUTS || s == NameHostname }

// Environ returns a variable of a process's environment as it was at its start;
// "" if it is not set or may not be read.
func (m *Machine) Environ(pid int, name string) string {
	proc, err := m.fs.Proc(pid)
	if err != nil {
		return ""
	}
	environ, err := proc.Environ()
	if err != nil {
		return ""
	}
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
