package disk

import (
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
	read, written               *prometheus.Desc
	tracked, leftOut            *prometheus.Desc
	lostRequests, lostProcesses *prometheus.Desc

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
		read:          desc("read_bytes_total", "Bytes that the process has had read from storage, since promscope began to look.", "pid", "comm"),
		written:       desc("written_bytes_total", "Bytes that the process has had written to storage, or left in memory to be written, since promscope began to look.", "pid", "comm"),
		tracked:       desc("processes", "Processes that have read or written."),
		leftOut:       desc("processes_left_out", "Processes that have no series because too many read or write."),
		lostRequests:  desc("requests_lost_total", "Requests that were not counted because there are too many devices."),
		lostProcesses: desc("process_ends_lost_total", "Processes whose last bytes were not counted because too many ended at a time."),
		programs:      p,
		devices:       devices,
		processes:     &processes{most: most, keep: keep, all: map[owner]*process{}},
		last:          time.Now(),
	}
	// What was done before must not look as if it happened now.
	return r, r.readProcesses(r.last)
}

// readProcesses takes in what the processes have read and written.
func (r *reader) readProcesses(now time.Time) error {
	// The living ones come first: one that ends meanwhile is among those that have ended.
	living, err := readLiving(r.programs)
	if err != nil {
		return err
	}
	ended, err := takeEnded(r.programs.Collection.Maps[mapEnded])
	if err != nil {
		return err
	}
	r.processes.update(now, living, ended)
	return nil
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.read, r.written, r.tracked, r.leftOut, r.lostRequests, r.lostProcesses, r.devices.duration, r.devices.inFlight} {
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
	metrics = append(metrics, r.processes.metrics(r.read, r.written)...)
	metrics = append(metrics,
		prometheus.MustNewConstMetric(r.tracked, prometheus.GaugeValue, float64(len(r.processes.all))),
		prometheus.MustNewConstMetric(r.leftOut, prometheus.GaugeValue, float64(r.processes.leftOut)))
	for desc, variable := range map[*prometheus.Desc]string{r.lostRequests: varLostRequests, r.lostProcesses: varLostEnds} {
		n, err := r.programs.Counter(variable)
		if err != nil {
			return metrics, err
		}
		metrics = append(metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n)))
	}
	return metrics, nil
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Processes that have read or written", Value: strconv.Itoa(len(r.processes.all))},
		collector.Fact{Name: "Processes left out: too many", Value: strconv.Itoa(r.processes.leftOut)})
	return nil
}
