package http

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// Open loads the programs, attaches them, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*load.Collector, error) {
	sets := hookSets()
	if o.hookSet != "" {
		sets = slices.DeleteFunc(sets, func(s collector.HookSet) bool { return s.Name != o.hookSet })
	}
	object := load.Object{File: object, HookSets: sets, Configure: o.configure}
	return load.Start("http", object, env, func(p *load.Programs) (load.Reader, error) {
		// All that was open before has its state now.
		if err := p.Collection.Variables["adopted"].Set(true); err != nil {
			return nil, fmt.Errorf("setting adopted: %w", err)
		}
		return &reader{
			programs:  p,
			series:    newSeries(),
			retention: retention{keep: max(2*env.Interval, keepAtLeast), most: o.MaxProcesses},
		}, nil
	})
}

// reader makes series of the counters.
type reader struct {
	programs  *load.Programs
	series    *series
	retention retention
	evictions uint64
	lost      uint64 // requests, at the last reading
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) { r.series.describe(ch) }

// Read implements load.Reader.
func (r *reader) Read() ([]prometheus.Metric, error) {
	began := time.Now()
	maps := r.programs.Collection.Maps
	all, err := readProcesses(maps[mapProcesses])
	if err != nil {
		return nil, err
	}
	own, err := r.readOwn(len(all))
	if err != nil {
		return nil, err
	}
	at := load.Monotonic()
	r.series.births.begin()
	metrics, err := r.series.processes(r.retention.reported(all, at), func(each func(rareCode, *uint64)) error {
		return load.ReadMap(maps[mapRareCodes], each)
	}, own[varLostCodes] > 0)
	if err != nil {
		return metrics, err
	}
	r.series.births.end(began)
	gone, evicted := r.retention.gone(all, at, own[varLostRequests] > r.lost)
	r.series.births.forget(gone)
	r.lost = own[varLostRequests]
	r.evictions += uint64(evicted)
	metrics = append(metrics, r.series.own(own)...)
	return metrics, dropProcesses(maps[mapProcesses], maps[mapRareCodes], gone)
}

// readOwn returns what the collector counts of itself, by the names of ownFigures.
func (r *reader) readOwn(processes int) (map[string]uint64, error) {
	own := map[string]uint64{"processes": uint64(processes), "evictions": r.evictions}
	for _, f := range ownFigures() {
		if _, ok := own[f.source]; ok {
			continue
		}
		n, err := r.programs.Counter(f.source)
		if err != nil {
			return nil, err
		}
		own[f.source] = n
	}
	return own, nil
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	all, err := readProcesses(r.programs.Collection.Maps[mapProcesses])
	own, ownErr := r.readOwn(len(all))
	if err := errors.Join(err, ownErr); err != nil {
		return err
	}
	for _, f := range ownFigures() {
		name := strings.ToUpper(f.fact[:1]) + f.fact[1:]
		status.Facts = append(status.Facts, collector.Fact{Name: name, Value: strconv.FormatUint(own[f.source], 10)})
	}
	for _, w := range []struct{ source, what, remedy string }{
		{varLostRequests, "requests were not counted: more processes serve than max_processes", "raise max_processes"},
		{varLostConnectionsLimit, "connections were not counted: more are open than max_connections", "raise max_connections"},
		{varLostConnectionsMemory, "connections were not counted: the kernel had no memory for them", "give the machine more memory"},
	} {
		if n := own[w.source]; n > 0 {
			status.Warnings = append(status.Warnings, collector.Warning{Reason: fmt.Sprintf("%d %s", n, w.what), Remedy: w.remedy})
		}
	}
	return nil
}
