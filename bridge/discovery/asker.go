package discovery

import (
	"errors"
	"reflect"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape/job"
)

// asker is how a job asks a listener: as it would scrape it. Jobs that ask alike have one
// asker, also through reloads, so that a listener is asked once for all of them.
type asker struct{ job job.Config }

// askerOf returns the asker of a job.
func (p *Prober) askerOf(j *job.Config) *asker {
	a := &asker{job.Config{
		Params:                   j.Params,
		ScrapeInterval:           model.Duration(probeTimeout),
		ScrapeTimeout:            model.Duration(probeTimeout),
		ScrapeProtocols:          j.ScrapeProtocols,
		ScrapeFallbackProtocol:   j.ScrapeFallbackProtocol,
		MetricNameEscapingScheme: j.MetricNameEscapingScheme,
		MetricsPath:              j.MetricsPath,
		Scheme:                   j.Scheme,
		EnableCompression:        j.EnableCompression,
		HTTPClientConfig:         j.HTTPClientConfig,
		FollowRedirectsElsewhere: j.FollowRedirectsElsewhere,
		RelabelConfigs:           j.RelabelConfigs,
	}}
	if slices.ContainsFunc(j.RelabelConfigs, readsJob) {
		a.job.JobName = j.JobName
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.askers {
		if reflect.DeepEqual(known, a) {
			return known
		}
	}
	if len(p.askers) >= maxAskers { // of configurations long gone
		p.askers = p.askers[1:]
	}
	p.askers = append(p.askers, a)
	return a
}

// readsJob reports whether a rule may make something of the job's name.
func readsJob(rc *relabel.Config) bool {
	if rc.Action == relabel.LabelMap {
		return rc.Regex.MatchString(model.JobLabel)
	}
	return slices.Contains(rc.SourceLabels, model.JobLabel) || rc.TargetLabel == model.JobLabel
}

// maxAskers bounds how many askers are remembered. With one that is not, listeners are
// asked again after a reload.
const maxAskers = 1000

// target is what the job would scrape at an endpoint.
func (a *asker) target(labels model.LabelSet) (*job.Target, error) {
	targets, dropped := job.TargetsOf(&a.job, &targetgroup.Group{Targets: []model.LabelSet{labels}})
	switch {
	case len(targets) == 1:
		return targets[0], nil
	case dropped[0].Error != "":
		return nil, errors.New("the job cannot scrape it: " + dropped[0].Error)
	default:
		return nil, errors.New("the job's relabel_configs drop it")
	}
}

// netnsOf is the network namespace that a target is dialed in; 0 is our own.
func netnsOf(t *job.Target) uint64 {
	netns, _ := strconv.ParseUint(t.All.Get(LabelNetNS), 10, 64)
	return netns
}
