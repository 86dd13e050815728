package pressure

import (
	"errors"
	"io/fs"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/attribution"
	"github.com/promscope/promscope/ebpf/collector"
)

// The beginnings of the series' names.
const (
	prefixHost      = "promscope_pressure_"
	prefixContainer = "promscope_container_pressure_"
	prefixPod       = "promscope_pod_pressure_"
)

// findEvery is how often the containers are looked for, in the gathering that is next to that.
// To read a directory of the hierarchy takes longer than to read a container's pressure.
const findEvery = 5 * time.Second

// Collector exports PSI. It is safe for concurrent use. It must be closed.
type Collector struct {
	interval      time.Duration // between two gatherings
	root          string        // of the hierarchy of cgroups; "" if there is none
	maxContainers int

	host, container, pod series
	read, leftOut        *prometheus.Desc

	mu       sync.Mutex
	machine  *group
	cgroups  map[string]*watched // by path
	beyond   int                 // cgroups of the last look that there was no room for
	lookedAt time.Time           // when the gathering began that last looked for containers
	closed   bool
}

// watched is the cgroup of a container or pod whose files are open.
type watched struct {
	found
	*group
}

// series are those of hosts, of containers or of pods: by resource.
type series [3]struct{ waiting, stalled *prometheus.Desc }

func newSeries(prefix, of string, labels ...string) (s series) {
	for i, resource := range resources() {
		name := prefix + resource
		s[i].waiting = prometheus.NewDesc(name+"_waiting_seconds_total", "Time in which at least one thread "+of+" waited for "+spoken(resource)+".", labels, nil)
		s[i].stalled = prometheus.NewDesc(name+"_stalled_seconds_total", "Time in which all threads "+of+" that had something to do waited for "+spoken(resource)+".", labels, nil)
	}
	return s
}

// spoken is how people call a resource.
func spoken(resource string) string {
	return map[string]string{"cpu": "a CPU", "memory": "memory", "io": "I/O"}[resource]
}

// open returns a collector of what is in a directory like /proc/pressure and in a
// hierarchy of cgroups.
func open(pressure, root string, interval time.Duration, maxContainers int) (*Collector, error) {
	machine, err := openGroup(func(resource string) string { return pressure + "/" + resource })
	if err != nil {
		return nil, explain(err)
	}
	if _, err := machine.read(); err != nil {
		return nil, errors.Join(explain(err), machine.close())
	}
	return &Collector{
		interval:      interval,
		root:          root,
		maxContainers: maxContainers,
		host:          newSeries(prefixHost, "of the host"),
		container:     newSeries(prefixContainer, "of the container", attribution.LabelContainer, attribution.LabelPod),
		pod:           newSeries(prefixPod, "of the pod", attribution.LabelPod),
		read:          prometheus.NewDesc(prefixHost+"cgroups", "Containers and pods whose pressure is read.", nil, nil),
		leftOut:       prometheus.NewDesc(prefixHost+"cgroups_left_out", "Containers and pods whose pressure is not read because there are too many.", nil, nil),
		machine:       machine,
		cgroups:       map[string]*watched{},
	}, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for i, s := range []series{c.host, c.container, c.pod} {
		for j := range s {
			ch <- s[j].waiting
			if i > 0 || resources()[j] != "cpu" {
				ch <- s[j].stalled
			}
		}
	}
	ch <- c.read
	ch <- c.leftOut
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	metrics, err := c.gather()
	c.mu.Unlock() // before the channel, whose reader may be slow
	for _, m := range metrics {
		ch <- m
	}
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.read, err)
	}
}

func (c *Collector) gather() (metrics []prometheus.Metric, err error) {
	if c.closed {
		return nil, nil
	}
	began := time.Now()
	stalls, err := c.machine.read()
	if err != nil {
		return nil, err
	}
	// No thread ever runs while all wait for a CPU: of the whole machine the kernel says
	// 0 (since 5.13), or nothing.
	stalls[0].hasFull = false
	metrics = c.host.of(metrics, stalls)
	if began.Sub(c.lookedAt) >= findEvery-c.interval/2 {
		c.lookedAt = began
		err = c.find()
	}
	for path, w := range c.cgroups {
		stalls, readErr := w.read()
		if readErr != nil {
			// A cgroup that was removed reads as ENODEV.
			delete(c.cgroups, path)
			closeErr := w.close()
			if !errors.Is(readErr, syscall.ENODEV) {
				err = errors.Join(err, readErr, closeErr)
			}
			continue
		}
		if w.container != "" {
			metrics = c.container.of(metrics, stalls, w.container, w.pod)
		} else {
			metrics = c.pod.of(metrics, stalls, w.pod)
		}
	}
	return append(metrics,
		prometheus.MustNewConstMetric(c.read, prometheus.GaugeValue, float64(len(c.cgroups))),
		prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(c.beyond))), err
}

func (s *series) of(metrics []prometheus.Metric, stalls [3]stall, labels ...string) []prometheus.Metric {
	for i, stall := range stalls {
		metrics = append(metrics, prometheus.MustNewConstMetric(s[i].waiting, prometheus.CounterValue, stall.waiting, labels...))
		if stall.hasFull {
			metrics = append(metrics, prometheus.MustNewConstMetric(s[i].stalled, prometheus.CounterValue, stall.stalled, labels...))
		}
	}
	return metrics
}

// find looks for containers and pods that are new. Of two cgroups with the same name, as
// a container has in a hierarchy that is mounted within another, the first counts.
func (c *Collector) find() error {
	c.beyond = 0
	if c.root == "" || c.maxContainers == 0 {
		return nil
	}
	all, err := findCgroups(c.root)
	if err != nil {
		return err
	}
	type name struct{ container, pod string }
	taken := map[name]bool{}
	for _, w := range c.cgroups {
		taken[name{w.container, w.pod}] = true
	}
	for _, f := range all {
		if c.cgroups[f.path] != nil || taken[name{f.container, f.pod}] {
			continue
		}
		if len(c.cgroups) >= c.maxContainers {
			c.beyond++
			continue
		}
		g, openErr := openGroup(func(resource string) string { return c.root + f.path + "/" + resource + ".pressure" })
		if openErr != nil {
			// It ended meanwhile, its PSI is switched off (cgroup.pressure, since 6.1), or it is
			// another user's.
			if !errors.Is(openErr, fs.ErrNotExist) && !errors.Is(openErr, syscall.ENODEV) && !errors.Is(openErr, fs.ErrPermission) {
				err = errors.Join(err, openErr)
			}
			continue
		}
		c.cgroups[f.path] = &watched{f, g}
		taken[name{f.container, f.pod}] = true
	}
	return err
}

// Status implements collector.Collector.
func (c *Collector) Status() collector.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return collector.Status{Facts: []collector.Fact{
		{Name: "Containers and pods", Value: strconv.Itoa(len(c.cgroups))},
		{Name: "Containers and pods left out", Value: strconv.Itoa(c.beyond)},
	}}
}

// Close implements collector.Collector.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	errs := []error{c.machine.close()}
	for path, w := range c.cgroups {
		errs = append(errs, w.close())
		delete(c.cgroups, path)
	}
	return errors.Join(errs...)
}
