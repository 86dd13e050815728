package exits

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keepFor is for how long a cgroup has series after the last process that a signal ended there.
// It is more than rules look back.
const keepFor = 10 * time.Minute

// counter is a counter and its birth.
type counter struct {
	n    uint64
	born time.Time
}

func (c *counter) count(born time.Time) {
	if c.n == 0 {
		c.born = born
	}
	c.n++
}

// group is what is counted of a cgroup.
type group struct {
	ends     map[string]*counter // by signal
	oomKills counter
	last     time.Time // when a process was last counted
	oomLast  time.Time // when one was last counted that was killed because there was no memory
	oomComm  string    // its name
}

// cgroups are those where a signal has ended a process not long ago.
type cgroups struct {
	ends, oomKills, oomLast *prometheus.Desc

	most    int
	all     map[string]*group // by path
	evicted uint64
	updated time.Time
}

func newCgroups(most int, now time.Time) *cgroups {
	return &cgroups{
		ends:     prometheus.NewDesc("promscope_cgroup_exits_total", "Processes of the cgroup that a signal ended.", []string{"cgroup", "signal"}, nil),
		oomKills: prometheus.NewDesc("promscope_cgroup_oom_kills_total", "Processes of the cgroup that the kernel killed because there was no memory.", []string{"cgroup"}, nil),
		oomLast:  prometheus.NewDesc("promscope_cgroup_oom_last_kill_timestamp_seconds", "When the kernel last killed a process of the cgroup because there was no memory, and the name of that.", []string{"cgroup", "comm"}, nil),
		most:     most,
		all:      map[string]*group{},
		updated:  now,
	}
}

// update counts the processes that ended since it was called last.
func (c *cgroups) update(now time.Time, victims []victim) {
	for i := range victims {
		v := &victims[i]
		path := v.cgroup()
		g := c.all[path]
		if g == nil {
			c.makeRoom()
			g = &group{ends: map[string]*counter{}}
			c.all[path] = g
		}
		g.last = now
		name := signalName(v.Signal)
		if g.ends[name] == nil {
			g.ends[name] = &counter{}
		}
		g.ends[name].count(c.updated)
		if v.OutOfMemory() {
			g.oomKills.count(c.updated)
			g.oomLast, g.oomComm = now, v.comm()
		}
	}
	for path, g := range c.all {
		if now.Sub(g.last) >= keepFor {
			delete(c.all, path)
		}
	}
	c.updated = now
}

// makeRoom for one more cgroup: that goes where a process was counted the longest ago.
func (c *cgroups) makeRoom() {
	if len(c.all) < c.most {
		return
	}
	var oldest string
	for path, g := range c.all {
		if o := c.all[oldest]; o == nil || g.last.Before(o.last) {
			oldest = path
		}
	}
	delete(c.all, oldest)
	c.evicted++
}

func (c *cgroups) metrics() []prometheus.Metric {
	var metrics []prometheus.Metric
	for path, g := range c.all {
		for signal, n := range g.ends {
			metrics = append(metrics, n.metric(c.ends, path, signal))
		}
		if g.oomKills.n > 0 {
			seconds := float64(g.oomLast.UnixMilli()) / 1000
			metrics = append(metrics, g.oomKills.metric(c.oomKills, path),
				prometheus.MustNewConstMetric(c.oomLast, prometheus.GaugeValue, seconds, path, g.oomComm))
		}
	}
	return metrics
}

func (c *counter) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, float64(c.n), c.born, labels...)
}
