package job

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// LabelUnixSocket holds the path of the unix socket through which the target
// is reached, instead of the network address in __address__.
const LabelUnixSocket = "__unix_socket__"

// LabelListenerNetNS is on every target that was found at a local listener, before
// relabelling: the network namespace of the listener.
const LabelListenerNetNS = model.MetaLabelPrefix + "listener_netns"

// Target is what a loop scrapes. It does not change.
type Target struct {
	Job *Config
	// all labels after relabelling, the internal ones included.
	All labels.Labels
	// public are the labels that go onto the target's series.
	Public     labels.Labels
	Discovered labels.Labels
	URL        *url.URL // nil inside of this process
	Interval   time.Duration
	Timeout    time.Duration
}

// TargetsOf makes targets of a group. Targets that relabelling drops, or that
// make no sense, come back as dropped.
func TargetsOf(job *Config, g *targetgroup.Group) (targets []*Target, dropped []DroppedTarget) {
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
func newTarget(lb *labels.Builder, job *Config, discovered labels.Labels) (*Target, error) {
	lb.Reset(discovered)
	if !relabel.ProcessBuilder(lb, job.RelabelConfigs...) {
		return nil, nil
	}
	t := &Target{Job: job, Discovered: discovered}
	addr := lb.Get(model.AddressLabel)
	switch {
	case addr == "" && lb.Get(LabelUnixSocket) != "":
		// The socket decides where it goes; the name is for the Host header.
		addr = "localhost"
	case addr == "":
		return nil, errors.New("no address")
	case strings.Contains(addr, "/"):
		return nil, fmt.Errorf("%q is not a valid host name", addr)
	}
	var err error
	if t.Interval, err = durationLabel(lb, model.ScrapeIntervalLabel); err != nil {
		return nil, fmt.Errorf("scrape interval: %w", err)
	}
	if t.Timeout, err = durationLabel(lb, model.ScrapeTimeoutLabel); err != nil {
		return nil, fmt.Errorf("scrape timeout: %w", err)
	}
	if t.Timeout > t.Interval {
		return nil, fmt.Errorf("scrape timeout %s is longer than the interval %s", t.Timeout, t.Interval)
	}
	if lb.Get(model.InstanceLabel) == "" {
		instance := addr
		if path := lb.Get(LabelUnixSocket); path != "" && lb.Get(model.AddressLabel) == "" {
			instance = path
		}
		lb.Set(model.InstanceLabel, instance)
	}
	lb.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, model.MetaLabelPrefix) {
			lb.Del(l.Name)
		}
	})
	t.All = lb.Labels()
	if err := t.All.Validate(func(l labels.Label) error {
		if !model.LabelValue(l.Value).IsValid() {
			return fmt.Errorf("invalid value of label %q: %q", l.Name, l.Value)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	t.All.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, model.ReservedLabelPrefix) {
			lb.Del(l.Name)
		}
	})
	t.Public = lb.Labels()
	t.URL = t.buildURL(addr)
	return t, nil
}

func durationLabel(lb *labels.Builder, name string) (time.Duration, error) {
	d, err := model.ParseDuration(lb.Get(name))
	if err == nil && d == 0 {
		err = errors.New("must not be 0")
	}
	return time.Duration(d), err
}

func (t *Target) buildURL(host string) *url.URL {
	params := make(url.Values, len(t.Job.Params))
	for k, v := range t.Job.Params {
		params[k] = append([]string(nil), v...)
	}
	t.All.Range(func(l labels.Label) {
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
		Scheme:   t.All.Get(model.SchemeLabel),
		Host:     host,
		Path:     t.All.Get(model.MetricsPathLabel),
		RawQuery: params.Encode(),
	}
}

// UnixSocket is the path of the target's socket, or empty.
func (t *Target) UnixSocket() string { return t.All.Get(LabelUnixSocket) }

// Key identifies the target among those of its job, and decides when it is due. It is empty
// for those of this process.
func (t *Target) Key() string {
	if t.URL == nil {
		return ""
	}
	return t.URL.String() + "\xff" + string(t.All.Bytes(nil))
}

// DroppedTarget is a target that relabelling dropped, or that could not be
// made sense of.
type DroppedTarget struct {
	Job        string
	Discovered labels.Labels
	// Error is empty for a target that was dropped by a rule.
	Error string
}
