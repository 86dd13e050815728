package scrape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// unixSocketLabel holds the path of the unix socket through which the target
// is reached, instead of the network address in __address__.
const unixSocketLabel = "__unix_socket__"

// target is what a loop scrapes. It does not change.
type target struct {
	job *Config
	// all labels after relabelling, the internal ones included.
	all labels.Labels
	// public are the labels that go onto the target's series.
	public     labels.Labels
	discovered labels.Labels
	url        *url.URL // nil inside of this process
	interval   time.Duration
	timeout    time.Duration
}

// targetsOf makes targets of a group. Targets that relabelling drops, or that
// make no sense, come back as dropped.
func targetsOf(job *Config, g *targetgroup.Group) (targets []*target, dropped []DroppedTarget) {
	lb := labels.NewBuilder(labels.EmptyLabels())
	for _, own := range g.Targets {
		discovered := discoveredLabels(lb, job, own, g.Labels)
		t, err := newTarget(lb, job, discovered)
		switch {
		case err != nil:
			dropped = append(dropped, DroppedTarget{Job: job.JobName, Discovered: discovered, Error: err.Error()})
		case t == nil:
			dropped = append(dropped, DroppedTarget{Job: job.JobName, Discovered: discovered})
		default:
			targets = append(targets, t)
		}
	}
	return targets, dropped
}

// discoveredLabels are the labels that relabelling starts from: the target's,
// the group's, and the job's settings.
func discoveredLabels(lb *labels.Builder, job *Config, own, group model.LabelSet) labels.Labels {
	lb.Reset(labels.EmptyLabels())
	for n, v := range group {
		lb.Set(string(n), string(v))
	}
	for n, v := range own {
		lb.Set(string(n), string(v))
	}
	preset := func(name, value string) {
		if lb.Get(name) == "" {
			lb.Set(name, value)
		}
	}
	preset(model.JobLabel, job.JobName)
	preset(model.ScrapeIntervalLabel, job.ScrapeInterval.String())
	preset(model.ScrapeTimeoutLabel, job.ScrapeTimeout.String())
	preset(model.MetricsPathLabel, job.MetricsPath)
	preset(model.SchemeLabel, job.Scheme)
	for k, v := range job.Params {
		if len(v) > 0 {
			preset(model.ParamLabelPrefix+k, v[0])
		}
	}
	return lb.Labels()
}

// newTarget relabels. It returns nil if a rule drops the target.
func newTarget(lb *labels.Builder, job *Config, discovered labels.Labels) (*target, error) {
	lb.Reset(discovered)
	if !relabel.ProcessBuilder(lb, job.RelabelConfigs...) {
		return nil, nil
	}
	t := &target{job: job, discovered: discovered}
	addr := lb.Get(model.AddressLabel)
	switch {
	case addr == "" && lb.Get(unixSocketLabel) != "":
		// The socket decides where it goes; the name is for the Host header.
		addr = "localhost"
	case addr == "":
		return nil, errors.New("no address")
	case strings.Contains(addr, "/"):
		return nil, fmt.Errorf("%q is not a valid host name", addr)
	}
	var err error
	if t.interval, err = durationLabel(lb, model.ScrapeIntervalLabel); err != nil {
		return nil, fmt.Errorf("scrape interval: %w", err)
	}
	if t.timeout, err = durationLabel(lb, model.ScrapeTimeoutLabel); err != nil {
		return nil, fmt.Errorf("scrape timeout: %w", err)
	}
	if t.timeout > t.interval {
		return nil, fmt.Errorf("scrape timeout %s is longer than the interval %s", t.timeout, t.interval)
	}
	if lb.Get(model.InstanceLabel) == "" {
		instance := addr
		if path := lb.Get(unixSocketLabel); path != "" && lb.Get(model.AddressLabel) == "" {
			instance = path
		}
		lb.Set(model.InstanceLabel, instance)
	}
	lb.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, model.MetaLabelPrefix) {
			lb.Del(l.Name)
		}
	})
	t.all = lb.Labels()
	if err := t.all.Validate(func(l labels.Label) error {
		if !model.LabelValue(l.Value).IsValid() {
			return fmt.Errorf("invalid value of label %q: %q", l.Name, l.Value)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	t.all.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, model.ReservedLabelPrefix) {
			lb.Del(l.Name)
		}
	})
	t.public = lb.Labels()
	t.url = t.buildURL(addr)
	return t, nil
}

func durationLabel(lb *labels.Builder, name string) (time.Duration, error) {
	d, err := model.ParseDuration(lb.Get(name))
	if err == nil && d == 0 {
		err = errors.New("must not be 0")
	}
	return time.Duration(d), err
}

func (t *target) buildURL(host string) *url.URL {
	params := make(url.Values, len(t.job.Params))
	for k, v := range t.job.Params {
		params[k] = append([]string(nil), v...)
	}
	t.all.Range(func(l labels.Label) {
		k, ok := strings.CutPrefix(l.Name, model.ParamLabelPrefix)
		switch {
		case !ok:
		case len(params[k]) > 0:
			params[k][0] = l.Value
		default:
			params[k] = []string{l.Value}
		}
	})
	return &url.URL{
		Scheme:   t.all.Get(model.SchemeLabel),
		Host:     host,
		Path:     t.all.Get(model.MetricsPathLabel),
		RawQuery: params.Encode(),
	}
}

// unixSocket is the path of the target's socket, or empty.
func (t *target) unixSocket() string { return t.all.Get(unixSocketLabel) }

// key identifies the target among those of its job, and decides when it is due.
// Those of this process are all due at once, for one evaluation and one publication.
func (t *target) key() string {
	if t.url == nil {
		return ""
	}
	return t.url.String() + "\xff" + string(t.all.Bytes(nil))
}

// offset is the time until the target's next scrape. Scrapes of different
// targets are spread over the interval by hash, and those of one target stay
// at the same offset through restarts.
func offset(key string, interval time.Duration, now time.Time) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(key))
	at := time.Duration(mix(h.Sum64()) % uint64(interval))
	into := time.Duration(now.UnixNano() % int64(interval))
	return (at - into + interval) % interval
}

// mix spreads what FNV leaves in the low bits of similar keys.
func mix(h uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h*0x9e3779b97f4a7c15)
	return binary.BigEndian.Uint64(b[:])
}
