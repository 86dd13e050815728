package attribution

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/mapping"
)

// withHost adds target_host to the labels of a process that speaks of this host: it is in
// the host's network namespace. That is the one of process 1, as far as the machine's
// procfs shows it, else promscope's own.
func withHost(m *host.Machine, p host.Process, l labels.Labels) labels.Labels {
	ns, err := m.Namespace(1, "net")
	if err != nil {
		ns = m.NetNS()
	}
	if p.NetNS == 0 || p.NetNS != ns {
		return l
	}
	return labels.NewBuilder(l).Set(mapping.LabelHost, mapping.ThisHost).Labels()
}

// maxStartDifference is how far what a process says of its start may be from what the
// kernel says. Client libraries go by a boot time in whole seconds, or by their own start.
const maxStartDifference = 10 * time.Second

// own holds what a target says of itself against the process that owns its listener. It
// returns the labels of that process that are right, and why not the others.
func own(m *host.Machine, scopeName func() string) func(origin labels.Labels, said scrape.Testimony) (labels.Labels, string) {
	return func(origin labels.Labels, said scrape.Testimony) (labels.Labels, string) {
		if why := startsDiffer(m, origin, said.Starts); why != "" {
			return labels.EmptyLabels(), why
		}
		if said.Behind {
			return labels.EmptyLabels(), behind(m, origin)
		}
		if said.Nodename == "" || !origin.Has(mapping.LabelHost) {
			return origin, ""
		}
		var names []string
		for _, c := range m.Names(host.NameInputs{Configured: scopeName()}) {
			if sameName(c.Name, said.Nodename) {
				return origin, ""
			}
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
		return labels.NewBuilder(origin).Del(mapping.LabelHost).Labels(),
			fmt.Sprintf("its node_uname_info has nodename=%q, and this host is %s: it speaks of another machine", said.Nodename, strings.Join(names, " or "))
	}
}

// startsDiffer says that a target is not the process which owns its listener; "" if that
// is not known. Of a target that exposes the starts of several processes one is enough.
func startsDiffer(m *host.Machine, origin labels.Labels, starts []float64) string {
	pid, err := strconv.Atoi(origin.Get(LabelPID))
	if err != nil || len(starts) == 0 {
		return ""
	}
	p, err := m.Process(pid)
	if err != nil {
		return "" // it has just ended
	}
	from := func(start float64) float64 { return math.Abs(start - float64(p.Start.UnixNano())/1e9) }
	nearest := slices.MinFunc(starts, func(a, b float64) int { return cmp.Compare(from(a), from(b)) })
	if !(from(nearest) > maxStartDifference.Seconds()) {
		return ""
	}
	said := "its process_start_time_seconds is"
	if len(starts) > 1 {
		said = fmt.Sprintf("of its %d process_start_time_seconds the nearest is", len(starts))
	}
	return fmt.Sprintf("%s %s, and process %d (%s), which owns the listener, started at %s: another process answers",
		said, time.Unix(0, int64(nearest*1e9)).UTC().Format(time.RFC3339), pid, p.Comm, p.Start.UTC().Format(time.RFC3339))
}

// knownBy returns by which metrics the process of an origin is known, if it is a proxy.
func knownBy(m *host.Machine) func(origin labels.Labels) (prefixes []string, ok bool) {
	return func(origin labels.Labels) (prefixes []string, ok bool) {
		pid, err := strconv.Atoi(origin.Get(LabelPID))
		if err != nil {
			return nil, false
		}
		p, err := m.Process(pid)
		if err != nil {
			return nil, false // it has just ended
		}
		return socket.KnownBy(p)
	}
}

// behind says that a target is not the proxy which owns its listener.
func behind(m *host.Machine, origin labels.Labels) string {
	pid := origin.Get(LabelPID)
	var comm string
	if n, err := strconv.Atoi(pid); err == nil {
		if p, err := m.Process(n); err == nil {
			comm = fmt.Sprintf(" (%s)", p.Comm)
		}
	}
	return fmt.Sprintf("it exposes no metric that the proxy which owns the listener, process %s%s, has of itself: another process answers", pid, comm)
}

// sameName tells whether two host names can be of one machine: they are equal, or one of
// them is the other without its domain.
func sameName(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}
