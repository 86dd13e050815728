package bridge

import (
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/mapping"
)

// The labels that a target gets from the process that serves it.
const (
	labelTargetPID       = "target_pid"
	labelTargetContainer = "target_container_id"
	labelTargetPod       = "target_pod_uid"
	// labelSubjectPID is the process that the target speaks of: an exporter's
	// server, or else the one that serves it.
	labelSubjectPID = "target_subject_pid"
)

// unknownPID is what is put behind a pid that no living process has.
const unknownPID = "@unknown"

// nodes tells the rules which nodes exist.
type nodes struct{ machine *host.Machine }

func (n nodes) Alive(t mapping.Topology, id string, at time.Time) bool {
	return n.machine.Alive(string(t), id, at)
}

// originLabels are the labels of the process at the other end of a scrape's
// connection.
func originLabels(sockets *socket.Table) func(ctx context.Context, conn net.Conn) labels.Labels {
	return func(ctx context.Context, conn net.Conn) labels.Labels {
		p, ok := sockets.OwnerOf(ctx, conn)
		if !ok {
			return labels.EmptyLabels()
		}
		return processLabels(p)
	}
}

// subjectLabels put the process that a target speaks of into its labels.
func subjectLabels(sockets *socket.Table) func(ctx context.Context, origin labels.Labels) labels.Labels {
	return func(ctx context.Context, origin labels.Labels) labels.Labels {
		pid, err := strconv.Atoi(origin.Get(labelTargetPID))
		if err != nil {
			return origin
		}
		p, ok := sockets.Upstream(ctx, pid)
		if !ok {
			return origin
		}
		b := labels.NewBuilder(origin)
		b.Set(labelSubjectPID, strconv.Itoa(p.PID))
		return b.Labels()
	}
}

// processLabels are the labels that a process gives to what it serves.
func processLabels(p host.Process) labels.Labels {
	b := labels.NewScratchBuilder(4)
	if p.Container != "" {
		b.Add(labelTargetContainer, p.Container)
	}
	b.Add(labelTargetPID, strconv.Itoa(p.PID))
	b.Add(labelSubjectPID, strconv.Itoa(p.PID))
	if p.Pod != "" {
		b.Add(labelTargetPod, p.Pod)
	}
	b.Sort()
	return b.Labels()
}

// pidLabels are the labels that rules take for process ids, but for those that
// are promscope's own.
func pidLabels(set *mapping.Set) []string {
	var names []string
	for _, r := range set.Rules() {
		if r.Topology == mapping.Process && r.NodeLabel != labelTargetPID && r.NodeLabel != labelSubjectPID && !slices.Contains(names, r.NodeLabel) {
			names = append(names, r.NodeLabel)
		}
	}
	return names
}

// translatePID gives the pids that an exporter exposes from inside of its own
// pid namespace the number that they have on this machine. One that no process
// has there becomes no number at all: as it is, it would be the pid of some other
// process here. That is not settled, for a process that has just started is not
// found at once.
func translatePID(m *host.Machine) func(ctx context.Context, target labels.Labels, label, value string) (translated string, settled bool) {
	return func(_ context.Context, target labels.Labels, _, value string) (string, bool) {
		exporter, err := strconv.Atoi(target.Get(labelTargetPID))
		if err != nil {
			return value, true // not of this machine
		}
		pid, err := strconv.Atoi(value)
		if err != nil {
			return value, true
		}
		translated, ok := m.TranslatePID(exporter, pid)
		if !ok {
			return value + unknownPID, false
		}
		return strconv.Itoa(translated), true
	}
}

// dial connects to a target in its network namespace.
func dial(sockets *socket.Table) func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error) {
	return func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error) {
		netns, _ := strconv.ParseUint(target.Get(discovery.LabelNetNS), 10, 64) // 0 is our own
		return sockets.DialContext(ctx, netns, network, address)
	}
}
