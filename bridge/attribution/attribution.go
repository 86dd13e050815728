// Package attribution says whose a series is: it gives a target the labels of the
// process that serves it and of the process that it speaks of, translates the
// pids that an exporter exposes, and connects to targets in their network
// namespaces. docs/attribution.md describes the labels.
package attribution

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/mapping"
)

// The labels that a target gets from the process that serves it.
const (
	LabelPID       = mapping.LabelPID
	LabelContainer = mapping.LabelContainer
	LabelPod       = mapping.LabelPod
	// labelSubjectPID is the process that the target speaks of: the server that an
	// exporter watches. Where there is none, it is the process that serves the target.
	labelSubjectPID = mapping.LabelSubjectPID
)

// UnknownPID stands behind a pid that no living process has. It keeps rules from
// taking the number for another process's.
const UnknownPID = mapping.UnknownPID

// ScrapeOptions returns what scraping needs to tell on this machine whose a series is, and
// to reach a target in its network namespace. The rules tell which labels hold pids, and
// scopeName what the machine is called in Scope. The caller adds the targets of this
// process.
func ScrapeOptions(m *host.Machine, sockets *socket.Table, rules *mapping.Set, scopeName func() string) scrape.Options {
	pids := pidRules(rules)
	return scrape.Options{
		Origin:    origin(m, sockets),
		Subject:   subject(sockets),
		Own:       own(m, scopeName),
		KnownBy:   knownBy(m),
		PIDLabels: slices.Sorted(maps.Keys(pids)),
		PID:       translatePID(m, pids),
		Dial:      dial(sockets),
	}
}

// Nodes tells rules and the report which nodes exist.
type Nodes struct{ Machine *host.Machine }

// Alive reports whether the node exists now and did so at the given time.
func (n Nodes) Alive(t mapping.Topology, id string, at time.Time) bool {
	return n.Machine.Alive(string(t), id, at)
}

// origin finds the process at the other end of a scrape's connection.
func origin(m *host.Machine, sockets *socket.Table) func(ctx context.Context, conn net.Conn) labels.Labels {
	return func(ctx context.Context, conn net.Conn) labels.Labels {
		p, ok := sockets.OwnerOf(ctx, conn)
		if !ok {
			return labels.EmptyLabels()
		}
		return withHost(m, p, processLabels(p))
	}
}

// subject adds the process that a target speaks of. It is looked for while the exporter
// answers.
func subject(sockets *socket.Table) func(ctx context.Context, origin labels.Labels, request string) func() scrape.Subject {
	return func(ctx context.Context, origin labels.Labels, request string) func() scrape.Subject {
		pid, err := strconv.Atoi(origin.Get(LabelPID))
		if err != nil {
			return func() scrape.Subject { return scrape.Subject{Labels: origin} }
		}
		look := sockets.Upstream(ctx, pid, request)
		return func() scrape.Subject {
			found := look.Result()
			b := labels.NewBuilder(origin)
			switch {
			case found.Process.PID != 0:
				b.Set(labelSubjectPID, strconv.Itoa(found.Process.PID))
			case found.OneOfMany:
				b.Del(labelSubjectPID)
			}
			return scrape.Subject{Labels: b.Labels(), Note: found.Note}
		}
	}
}

// processLabels are the labels that a process gives to what it serves.
func processLabels(p host.Process) labels.Labels {
	b := labels.NewScratchBuilder(4)
	if p.Container != "" {
		b.Add(LabelContainer, p.Container)
	}
	b.Add(LabelPID, strconv.Itoa(p.PID))
	b.Add(labelSubjectPID, strconv.Itoa(p.PID))
	if p.Pod != "" {
		b.Add(LabelPod, p.Pod)
	}
	b.Sort()
	return b.Labels()
}

// pidRules returns the rules that find process ids in a label, by the label, one for each
// regex. promscope's own labels need no translation.
func pidRules(set *mapping.Set) map[string][]*mapping.Rule {
	rules := map[string][]*mapping.Rule{}
	for _, r := range set.Rules() {
		if r.Topology != mapping.Process || r.NodeLabel == LabelPID || r.NodeLabel == labelSubjectPID {
			continue
		}
		same := func(other *mapping.Rule) bool { return other.NodeRegex() == r.NodeRegex() }
		if !slices.ContainsFunc(rules[r.NodeLabel], same) {
			rules[r.NodeLabel] = append(rules[r.NodeLabel], r)
		}
	}
	return rules
}

// translatePID gives the pids that an exporter exposes from its own pid namespace
// the numbers that they have on this machine. A pid that no process has there
// becomes no number: as it is, it would name another process here. That process may be
// found later: one that has just started is not found at once.
func translatePID(m *host.Machine, rules map[string][]*mapping.Rule) func(ctx context.Context, target labels.Labels, label, value string) scrape.PID {
	return func(_ context.Context, target labels.Labels, label, value string) scrape.PID {
		exporter, err := strconv.Atoi(target.Get(LabelPID))
		if err != nil {
			return scrape.PID{Value: value} // the target is not of this machine
		}
		exposed := findPIDs(value, rules[label])
		if len(exposed) == 0 {
			return scrape.PID{Value: value}
		}
		first := exposed[0]
		translated, ok := m.TranslatePID(exporter, first.pid)
		if !ok {
			return scrape.PID{Value: value + UnknownPID, Lost: true}
		}
		if translated.Holds == nil {
			return scrape.PID{Value: value} // the exporter's pids are the machine's
		}
		own := value[:first.start] + strconv.Itoa(translated.PID) + value[first.end:]
		// A rule may find another number beside it, or a part of it.
		if slices.ContainsFunc(findPIDs(own, rules[label]), func(f foundPID) bool { return f.pid != translated.PID }) {
			return scrape.PID{Value: value + UnknownPID}
		}
		return scrape.PID{Value: own, Holds: translated.Holds}
	}
}

// foundPID is a pid that a rule finds in a value of a label.
type foundPID struct{ pid, start, end int }

// findPIDs returns the pids that rules find in a value: the whole of it, or what a regex
// cuts out.
func findPIDs(value string, rules []*mapping.Rule) (found []foundPID) {
	for _, r := range rules {
		start, end := 0, len(value)
		if r.Regex != nil {
			span := r.Regex.FindStringSubmatchIndex(value)
			if span == nil || span[2] < 0 {
				continue
			}
			start, end = span[2], span[3]
		}
		if pid, err := strconv.Atoi(value[start:end]); err == nil {
			found = append(found, foundPID{pid, start, end})
		}
	}
	return found
}

// dial connects to a target in its network namespace.
func dial(sockets *socket.Table) func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error) {
	return func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error) {
		netns, _ := strconv.ParseUint(target.Get(discovery.LabelNetNS), 10, 64) // 0 is our own
		if network == "unix" {
			netns = 0 // the path leads to the socket, whatever its namespace
		}
		return sockets.DialContext(ctx, netns, network, address)
	}
}
