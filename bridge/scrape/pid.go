package scrape

import (
	"context"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// PID is what became of a process id that an exporter exposes.
type PID struct {
	// Value is the process id as this process sees it, or what is to stand for it.
	Value string
	// Lost says that the process was not found, and may be found later.
	Lost bool
	// Holds reports whether the value still means the same process. Each scrape asks
	// for each series, so it has to be quick. It is nil if that cannot change.
	Holds func() bool
}

// pidTranslator rewrites the labels of an exposed series that name processes,
// before the target's labels come to it.
type pidTranslator func(ctx context.Context, target labels.Labels, lb *labels.Builder, known knownPIDs) translation

// knownPIDs are the pids that were translated in one scrape of a target. A thousand series
// of a process are one question: to ask costs 50 µs and more, since /proc is read for it.
type knownPIDs map[exposedPID]PID

type exposedPID struct{ label, value string }

// translation is how the pids of a series were translated.
type translation struct {
	lost  bool        // one of the processes was not found
	holds func() bool // nil if there is nothing that may become wrong
}

// newPIDTranslator returns nil if there is nothing to translate.
//
// A series is translated when it is first seen, not in each scrape. It is translated
// again if a process was not found, as happens to processes that have just started, and
// when a process that was found has ended: its pid may be a stranger's by now.
func newPIDTranslator(opts Options) pidTranslator {
	if opts.PID == nil || len(opts.PIDLabels) == 0 {
		return nil
	}
	return func(ctx context.Context, target labels.Labels, lb *labels.Builder, known knownPIDs) (t translation) {
		for _, name := range opts.PIDLabels {
			exposed := lb.Get(name)
			if exposed == "" {
				continue
			}
			pid, found := known[exposedPID{name, exposed}]
			if !found {
				pid = opts.PID(ctx, target, name, exposed)
				known[exposedPID{name, strings.Clone(exposed)}] = pid
			}
			lb.Set(name, pid.Value)
			t.lost = t.lost || pid.Lost
			t.holds = both(t.holds, pid.Holds)
		}
		return t
	}
}

// both returns a function that reports whether both do; nil if both are.
func both(f, g func() bool) func() bool {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	default:
		return func() bool { return f() && g() }
	}
}
