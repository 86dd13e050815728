package disk

import (
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs/blockdevice"

	"github.com/promscope/promscope/ebpf/load"
)

const bucketBounds = 31

// bounds returns the upper bounds of the histogram's buckets, ascending: five a decade (ISO 3:
// R5), from 10 µs to 10 s.
func bounds() [bucketBounds]time.Duration {
	var out [bucketBounds]time.Duration
	for i := range out {
		// Rounded to the numbers that people know: 10, 16, 25, 40, 63 µs.
		steps := [...]float64{10, 16, 25, 40, 63}
		out[i] = time.Duration(math.Round(steps[i%5] * math.Pow10(i/5) * float64(time.Microsecond)))
	}
	return out
}

// operations are the names of what a request does, by the kernel's enum req_op.
func operations() [4]string { return [...]string{"read", "write", "flush", "discard"} }

// number is a device's.
type number struct{ Major, Minor uint32 }

// request is a key of the map of latencies.
type request struct {
	number
	Operation uint32
}

// latency is what is counted of the requests of a device and an operation.
type latency struct {
	Sum     uint64 // nanoseconds
	Buckets [bucketBounds + 1]uint64
}

// devices makes series of what is counted of devices.
type devices struct {
	stats    blockdevice.FS
	duration *prometheus.Desc
	inFlight *prometheus.Desc
	bounds   [bucketBounds]float64 // seconds
	born     map[request]time.Time // since when the histogram counts
}

func newDevices() (*devices, error) {
	stats, err := blockdevice.NewDefaultFS()
	if err != nil {
		return nil, fmt.Errorf("opening /proc and /sys: %w", err)
	}
	d := &devices{
		stats: stats,
		duration: prometheus.NewDesc(prefix+"request_duration_seconds",
			"Time from the beginning of a request to the device until its end, as /proc/diskstats adds it up.", []string{"device", "operation"}, nil),
		inFlight: prometheus.NewDesc(prefix+"requests_in_flight", "Requests to the device that have begun and not ended.", []string{"device"}, nil),
		born:     map[request]time.Time{},
	}
	for i, bound := range bounds() {
		d.bounds[i] = bound.Seconds()
	}
	return d, nil
}

// gather returns the series. What has none yet has counted since the time given. A device that
// is gone is forgotten.
func (d *devices) gather(m *ebpf.Map, since time.Time) ([]prometheus.Metric, error) {
	all, err := d.stats.ProcDiskstats()
	if err != nil {
		return nil, fmt.Errorf("reading /proc/diskstats: %w", err)
	}
	var metrics []prometheus.Metric
	names := make(map[number]string, len(all))
	for _, s := range all {
		names[number{s.MajorNumber, s.MinorNumber}] = s.DeviceName
	}
	var (
		gone    []request
		serving = map[number]bool{} // has served a request
	)
	err = load.ReadMap(m, func(key request, l *latency) {
		name, there := names[key.number]
		if !there {
			delete(d.born, key)
			gone = append(gone, key)
			return
		}
		serving[key.number] = true
		if d.born[key].IsZero() {
			d.born[key] = since
		}
		metrics = append(metrics, d.histogram(l, d.born[key], name, operations()[key.Operation]))
	})
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if serving[number{s.MajorNumber, s.MinorNumber}] {
			metrics = append(metrics, prometheus.MustNewConstMetric(d.inFlight, prometheus.GaugeValue, float64(s.IOsInProgress), s.DeviceName))
		}
	}
	return metrics, load.Drop(m, gone)
}

func (d *devices) histogram(l *latency, born time.Time, labels ...string) prometheus.Metric {
	var count uint64
	buckets := make(map[float64]uint64, bucketBounds)
	for i, n := range l.Buckets {
		count += n
		if i < bucketBounds {
			buckets[d.bounds[i]] = count
		}
	}
	return prometheus.MustNewConstHistogramWithCreatedTimestamp(d.duration, count, time.Duration(l.Sum).Seconds(), buckets, born, labels...)
}
