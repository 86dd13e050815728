package tcp

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// prefix begins the names of the series.
const prefix = "promscope_tcp_"

// reader makes series of what is counted.
type reader struct {
	descs     [counters]counterDesc // of those that are a series of their own
	roundTrip *prometheus.Desc

	listenerDrops, tracked, processes, leftOut, credsLeftOut, lostConnections, lostProcesses, lostEnds *prometheus.Desc

	programs  *load.Programs
	creds     credentials
	lives     map[owner]*living // the processes when they were last looked at
	livedAt   time.Time
	table     *table
	listeners map[listener]*drops // that have dropped something
	sockets   string              // the program that looks at them
	readings  uint64
	open      uint64 // sockets at the last reading
}

// lookEvery is how often the processes are looked at while nobody is missed. Beside thousands of
// them that is most of what a reading costs.
const lookEvery = 5 * time.Second

// drops is what the sockets of a listener have dropped.
type drops struct {
	n    uint64
	last uint64    // of those that were open at the last reading
	born time.Time // since when it counts
}

// grow takes in what the open sockets have dropped in all their life. That is less when one of
// them was closed, and another stays.
func (d *drops) grow(open uint64) {
	if open > d.last {
		d.n += open - d.last
	}
	d.last = open
}

// counterDesc describes the series of a counter, which may have a label besides the process's.
type counterDesc struct {
	*prometheus.Desc
	labels []string // the value of that label, if there is one
}

func newReader(p *load.Programs, most int, keep time.Duration) (*reader, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	var (
		connections = desc("connections_total", "Connections that the process has accepted (in), and made (out).", "pid", "comm", "direction")
		failed      = desc("connects_failed_total", "Connects of the process that made no connection.", "pid", "comm", "reason")
		resets      = desc("resets_total", "Resets of connections of the process that were received (in), and sent (out).", "pid", "comm", "direction")
	)
	r := &reader{
		descs: [counters]counterDesc{
			connectionsIn:     {connections, []string{"in"}},
			connectionsOut:    {connections, []string{"out"}},
			failedRefused:     {failed, []string{"refused"}},
			failedTimeout:     {failed, []string{"timeout"}},
			failedUnreachable: {failed, []string{"unreachable"}},
			failedAbandoned:   {failed, []string{"abandoned"}},
			failedOther:       {failed, []string{"other"}},
			resetsReceived:    {resets, []string{"in"}},
			resetsSent:        {resets, []string{"out"}},
			retransmits:       {desc("retransmits_total", "Segments that were sent again.", "pid", "comm"), nil},
			listenDrops:       {desc("listen_drops_total", "Connections that listeners of the process dropped: mostly because too many waited to be accepted.", "pid", "comm"), nil},
			bytesReceived:     {desc("received_bytes_total", "Bytes that connections of the process have received.", "pid", "comm"), nil},
			bytesSent:         {desc("sent_bytes_total", "Bytes that connections of the process have sent, once each.", "pid", "comm"), nil},
		},
		roundTrip:       desc("round_trip_seconds", "Round-trip time of connections of the process, one observation for each connection and gathering in which the peer acknowledged something.", "pid", "comm"),
		listenerDrops:   desc("listener_drops_total", "Connections that listeners of the process on a port dropped, while one of them is open.", "pid", "comm", "port"),
		tracked:         desc("sockets", "Sockets that are tracked: connections and listeners."),
		processes:       desc("processes", "Processes of which something was counted."),
		leftOut:         desc("processes_left_out", "Processes that have no series because there are too many: what they do is counted for the host."),
		credsLeftOut:    desc("credentials_left_out", "Credentials of processes and threads for which there is no room: what is accepted with them counts for the process that listens."),
		lostConnections: desc("sockets_lost_total", "Sockets that were not counted because too many are open."),
		lostProcesses:   desc("processes_lost_total", "Processes whose connections are counted for the host because there are too many processes."),
		lostEnds:        desc("socket_ends_lost_total", "Sockets whose end was missed: what they did last was not counted."),
		programs:        p,
		creds:           credentials{m: p.Collection.Maps[mapCreds], of: map[uint64]owner{}},
		table:           newTable(most, keep, time.Now()),
		listeners:       map[listener]*drops{},
		sockets:         programSockets,
	}
	if slices.Contains(p.HookSet.Programs, programFiles) {
		r.sockets = programFiles
	}
	// From now on it is known who accepts a connection.
	return r, r.update()
}

// update takes in what was counted.
func (r *reader) update() error {
	now := time.Now()
	totals := map[owner]*total{}
	// Before the sockets: what one has counted that is closed in between is missed until the
	// next time, and never there twice.
	if err := load.ReadMap(r.programs.Collection.Maps[mapProcesses], func(o owner, c *counted) {
		totals[o] = &total{counts: c.Counts, comm: c.Comm}
	}); err != nil {
		return err
	}
	if err := r.look(now, totals); err != nil {
		return err
	}
	if err := r.readSockets(totals); err != nil {
		return err
	}
	if err := r.readListeners(); err != nil {
		return err
	}
	gone, orphaned := r.table.update(now, totals, r.lives)
	if err := load.Drop(r.programs.Collection.Maps[mapProcesses], gone); err != nil {
		return err
	}
	return r.adopt(orphaned)
}

// look looks which processes live if somebody is missed: who accepts a connection, or who did
// something for the first time.
func (r *reader) look(now time.Time, totals map[owner]*total) error {
	unownedIn, err := r.programs.Counter(varUnownedIn)
	if err != nil {
		return err
	}
	if unownedIn < r.readings && now.Sub(r.livedAt) < lookEvery && !r.table.missed(totals, r.lives) {
		return nil
	}
	lives, creds, err := readLiving(r.programs)
	if err != nil {
		return err
	}
	r.lives, r.livedAt = lives, now
	return r.creds.update(creds)
}

// readSockets adds what the sockets have counted that are open.
func (r *reader) readSockets(totals map[owner]*total) error {
	r.readings++
	if err := r.programs.Collection.Variables[varGeneration].Set(r.readings); err != nil {
		return fmt.Errorf("setting %s: %w", varGeneration, err)
	}
	if err := r.programs.Iterate(r.sockets, io.Discard); err != nil {
		return err
	}
	var none []owner // that have no sockets any more
	r.open = 0
	err := load.ReadMap(r.programs.Collection.Maps[mapSums], func(o owner, s *sum) {
		if s.Generation != r.readings {
			none = append(none, o)
			return
		}
		if totals[o] == nil {
			totals[o] = &total{}
		}
		totals[o].counts.add(&s.Counts)
		totals[o].open, totals[o].held = true, s.Held
		r.open += s.Sockets
	})
	if err != nil {
		return err
	}
	return load.Drop(r.programs.Collection.Maps[mapSums], none)
}

// adopt gives the sockets of processes that have ended to those that have them now: as a rule a
// child, of a server that goes to the background. It looks at all open files.
func (r *reader) adopt(orphaned []owner) error {
	if len(orphaned) == 0 {
		return nil
	}
	sums := r.programs.Collection.Maps[mapSums]
	for _, o := range orphaned {
		var s sum
		if err := sums.Lookup(o, &s); err != nil {
			return fmt.Errorf("reading the sum of process %d: %w", o.tgid(), err)
		}
		s.Orphaned = 1
		if err := sums.Put(o, &s); err != nil {
			return fmt.Errorf("noting that process %d has ended: %w", o.tgid(), err)
		}
	}
	return r.programs.Iterate(programAdopt, io.Discard)
}

// readListeners takes in what each listener has dropped.
func (r *reader) readListeners() error {
	var closed []listener
	err := load.ReadMap(r.programs.Collection.Maps[mapListeners], func(l listener, d *dropped) {
		if d.Generation != r.readings {
			closed = append(closed, l)
			delete(r.listeners, l)
			return
		}
		if r.listeners[l] == nil {
			r.listeners[l] = &drops{born: r.table.last}
		}
		r.listeners[l].grow(d.Drops)
	})
	if err != nil {
		return err
	}
	return load.Drop(r.programs.Collection.Maps[mapListeners], closed)
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range r.descs {
		if d.Desc != nil {
			ch <- d.Desc
		}
	}
	for _, d := range []*prometheus.Desc{r.roundTrip, r.listenerDrops, r.tracked, r.processes, r.leftOut, r.credsLeftOut, r.lostConnections, r.lostProcesses, r.lostEnds} {
		ch <- d
	}
}

// Read implements load.Reader.
func (r *reader) Read() ([]prometheus.Metric, error) {
	if err := r.update(); err != nil {
		return nil, err
	}
	metrics := r.series(nil, &r.table.host, "", "")
	for o, p := range r.table.all {
		if p.shown != nil {
			metrics = r.series(metrics, p.shown, strconv.FormatUint(o.tgid(), 10), p.comm)
		}
	}
	for l, d := range r.listeners {
		if p := r.table.all[l.Owner]; p != nil && p.shown != nil {
			metrics = append(metrics, prometheus.MustNewConstMetricWithCreatedTimestamp(r.listenerDrops, prometheus.CounterValue, float64(d.n), d.born,
				strconv.FormatUint(l.Owner.tgid(), 10), p.comm, strconv.FormatUint(l.Port, 10)))
		}
	}
	metrics = append(metrics,
		prometheus.MustNewConstMetric(r.tracked, prometheus.GaugeValue, float64(r.open)),
		prometheus.MustNewConstMetric(r.processes, prometheus.GaugeValue, float64(len(r.table.all))),
		prometheus.MustNewConstMetric(r.leftOut, prometheus.GaugeValue, float64(r.table.leftOut)),
		prometheus.MustNewConstMetric(r.credsLeftOut, prometheus.GaugeValue, float64(r.creds.leftOut)))
	for desc, variable := range map[*prometheus.Desc]string{r.lostConnections: varLostConnections, r.lostProcesses: varLostProcesses, r.lostEnds: varLostEnds} {
		n, err := r.programs.Counter(variable)
		if err != nil {
			return metrics, err
		}
		metrics = append(metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n)))
	}
	return metrics, nil
}

// series appends the series of a process, or of the host.
func (r *reader) series(to []prometheus.Metric, s *series, pid, comm string) []prometheus.Metric {
	for i, d := range r.descs {
		if d.Desc == nil || s.born[i].IsZero() {
			continue
		}
		labels := append([]string{pid, comm}, d.labels...)
		to = append(to, prometheus.MustNewConstMetricWithCreatedTimestamp(d.Desc, prometheus.CounterValue, float64(s.values[i]), s.born[i], labels...))
	}
	if born := s.born[roundTrips]; !born.IsZero() {
		seconds := float64(s.values[roundTripMicroseconds]) / 1e6
		to = append(to, prometheus.MustNewConstSummaryWithCreatedTimestamp(r.roundTrip, s.values[roundTrips], seconds, nil, born, pid, comm))
	}
	return to
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Sockets", Value: strconv.FormatUint(r.open, 10)},
		collector.Fact{Name: "Processes", Value: strconv.Itoa(len(r.table.all))},
		collector.Fact{Name: "Processes left out", Value: strconv.Itoa(r.table.leftOut)})
	var errs []error
	lostOf := func(variable, fact string) uint64 {
		n, err := r.programs.Counter(variable)
		errs = append(errs, err)
		status.Facts = append(status.Facts, collector.Fact{Name: fact, Value: strconv.FormatUint(n, 10)})
		return n
	}
	lostOf(varLostEnds, "Ends of sockets missed")
	lostOf(varLostProcesses, "Processes lost: too many")
	if lost := lostOf(varLostConnections, "Sockets lost: too many"); lost > 0 {
		status.Warnings = append(status.Warnings, collector.Warning{
			Reason: fmt.Sprintf("%d sockets were not counted: too many are open", lost),
			Remedy: "raise max_connections",
		})
	}
	return errors.Join(errs...)
}
