package disk

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// prefix begins the names of the series.
const prefix = "promscope_disk_"

// reader makes series of what is counted.
type reader struct {
	read, written, requests *prometheus.Desc
	tracked, leftOut        *prometheus.Desc
	lost                    [3]lost

	programs  *load.Programs
	devices   *devices
	processes *processes
	last      time.Time // of the last reading, or of the beginning
}

func newReader(p *load.Programs, most int, keep time.Duration) (*reader, error) {
	devices, err := newDevices()
	if err != nil {
		return nil, err
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	r := &reader{
		read:     desc("read_bytes_total", "Bytes that the process has had read from storage, since promscope began to look.", "pid", "comm"),
		written:  desc("written_bytes_total", "Bytes that the process has had written to storage, or left in memory to be written, since promscope began to look.", "pid", "comm"),
		requests: desc("requests_total", "Requests of disks that the process has made, since promscope began to look.", "pid", "comm", "operation"),
		tracked:  desc("processes", "Processes that have read or written."),
		leftOut:  desc("processes_left_out", "Processes that have no series because too many read or write."),
		lost: [...]lost{
			{desc("requests_lost_total", "Requests that were not counted because there are too many devices."), varLostRequests, "Requests lost: too many devices"},
			{desc("process_requests_lost_total", "Requests that were counted for no process because too many processes make them."), varLostRequesters, "Requests of no process: too many"},
			{desc("process_ends_lost_total", "Processes whose last bytes were not counted because too many ended at a time."), varLostEnds, "Ends of processes lost: too many"},
		},
		programs:  p,
		devices:   devices,
		processes: &processes{most: most, keep: keep, all: map[owner]*process{}},
		last:      time.Now(),
	}
	// What was done before must not look as if it happened now.
	return r, r.readProcesses(r.last)
}

// lost is what was not counted: a variable of the programs.
type lost struct {
	desc     *prometheus.Desc
	variable string
	fact     string // its name on pages
}

// readProcesses takes in what the processes have read and written.
func (r *reader) readProcesses(now time.Time) error {
	// The living ones come first: one that ends meanwhile is among those that have ended.
	living, err := readLiving(r.programs)
	if err != nil {
		return err
	}
	dead, err := readEnded(r.programs.Collection.Maps[mapEnded])
	if err != nil {
		return err
	}
	return load.Drop(r.programs.Collection.Maps[mapEnded], r.processes.update(now, living, dead))
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.read, r.written, r.requests, r.tracked, r.leftOut, r.lost[0].desc, r.lost[1].desc, r.lost[2].desc, r.devices.duration, r.devices.inFlight} {
		ch <- d
	}
}

// Read implements load.Reader.
func (r *reader) Read() ([]prometheus.Metric, error) {
	now := time.Now()
	metrics, err := r.devices.gather(r.programs.Collection.Maps[mapRequests], r.last)
	if err != nil {
		return nil, err
	}
	if err := r.readProcesses(now); err != nil {
		return metrics, err
	}
	r.last = now
	r.processes.each(func(p *process, kind int, c *counter) { metrics = append(metrics, r.done(p, kind, c)) })
	metrics = append(metrics,
		prometheus.MustNewConstMetric(r.tracked, prometheus.GaugeValue, float64(len(r.processes.all))),
		prometheus.MustNewConstMetric(r.leftOut, prometheus.GaugeValue, float64(r.processes.leftOut)))
	for _, l := range r.lost {
		n, err := r.programs.Counter(l.variable)
		if err != nil {
			return metrics, err
		}
		metrics = append(metrics, prometheus.MustNewConstMetric(l.desc, prometheus.CounterValue, float64(n)))
	}
	return metrics, nil
}

// done returns the series of what a process has done of a kind.
func (r *reader) done(p *process, kind int, c *counter) prometheus.Metric {
	desc, labels := r.read, []string{strconv.FormatUint(p.TGID, 10), p.comm}
	switch kind {
	case bytesWritten:
		desc = r.written
	case reads:
		desc, labels = r.requests, append(labels, "read")
	case writes:
		desc, labels = r.requests, append(labels, "write")
	}
	return prometheus.MustNewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, float64(c.total-c.base), c.born, labels...)
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Processes that have read or written", Value: strconv.Itoa(len(r.processes.all))},
		collector.Fact{Name: "Processes left out: too many", Value: strconv.Itoa(r.processes.leftOut)})
	var errs []error
	for _, l := range r.lost {
		n, err := r.programs.Counter(l.variable)
		errs = append(errs, err)
		status.Facts = append(status.Facts, collector.Fact{Name: l.fact, Value: strconv.FormatUint(n, 10)})
	}
	return errors.Join(errs...)
}
