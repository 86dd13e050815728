package config

import (
	"errors"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping/document"
)

// jobs reads scrape_configs, or the default if the key is not there at all.
func (l *loader) jobs() []Job {
	list := document.Field(l.doc.Root, "scrape_configs")
	if list == nil || list.Kind == yaml.ScalarNode && list.ShortTag() == "!!null" {
		doc, err := document.Parse("default.yml", defaultJobs)
		if err != nil {
			l.report(l.doc.Errorf(nil, "reading the default jobs: %v", err))
			return nil
		}
		d := &loader{doc: doc, raw: l.raw}
		jobs := d.readJobs(document.Field(doc.Root, "scrape_configs"))
		l.report(d.found...)
		return jobs
	}
	return l.readJobs(list)
}

func (l *loader) readJobs(list *yaml.Node) []Job {
	var nodes []yaml.Node
	if !l.decode(list, &nodes) {
		return nil
	}
	var jobs []Job
	named := make(map[string]int, len(nodes)) // the lines of names
	for i := range nodes {
		node := document.Resolve(&nodes[i])
		raw := rawJob{Scrape: job.DefaultConfig(l.raw.Global)}
		if node.Kind != yaml.MappingNode {
			l.report(l.doc.Errorf(node, "expected a job, which is a mapping with job_name"))
			continue
		}
		l.checkName(node, named)
		if !l.decode(node, &raw) {
			continue
		}
		l.checkJob(node, &raw)
		jobs = append(jobs, raw.job(l.dir))
	}
	return jobs
}

// checkName reports a name that another job has.
func (l *loader) checkName(node *yaml.Node, named map[string]int) {
	name := document.Field(node, "job_name")
	if name == nil || name.Kind != yaml.ScalarNode || name.Value == "" {
		return // Validate reports that
	}
	if line, taken := named[name.Value]; taken {
		l.report(l.doc.Errorf(name, "job_name %q is taken by the job in line %d", name.Value, line))
		return
	}
	named[name.Value] = name.Line
	if name.Value == job.InProcess {
		l.report(l.doc.Errorf(name, "job_name %q is taken by the built-in collectors", name.Value).
			WithHint("rules tell series apart by their job: choose another name"))
	}
}

// checkJob reports what is wrong with a job that could be read.
func (l *loader) checkJob(node *yaml.Node, raw *rawJob) {
	for _, err := range unjoin(raw.Scrape.Validate()) {
		var field *job.FieldError
		if !errors.As(err, &field) {
			l.report(l.doc.Errorf(document.Blame(node, err.Error()), "%s", err))
			continue
		}
		at := document.Field(node, field.Key)
		switch {
		case at == nil:
			at = node
		case strings.HasSuffix(field.Key, "relabel_configs"):
			continue // checkRelabelling knows which of them
		}
		l.report(l.doc.Errorf(document.Blame(at, field.Err.Error()), "%s: %s", field.Key, field.Err))
	}
	scheme := raw.Scrape.MetricNameValidationScheme
	l.checkRelabelling(document.Field(node, "relabel_configs"), raw.Scrape.RelabelConfigs, scheme)
	l.checkRelabelling(document.Field(node, "metric_relabel_configs"), raw.Scrape.MetricRelabelConfigs, scheme)
	if len(raw.StaticConfigs)+len(raw.FileSDConfigs)+len(raw.HTTPSDConfigs)+len(raw.ListenerConfigs) == 0 {
		l.report(l.doc.Warnf(node, "the job %q has no targets", raw.Scrape.JobName).
			WithHint("add static_configs, file_sd_configs, http_sd_configs or listener_sd_configs"))
	}
	if len(raw.Scrape.RelabelConfigs) == 0 {
		l.checkTargets(document.Field(node, "static_configs"))
	}
	l.checkListeners(document.Field(node, "listener_sd_configs"), raw)
	l.checkRefreshIntervals(document.Field(node, "file_sd_configs"))
	l.checkRefreshIntervals(document.Field(node, "http_sd_configs"))
	l.checkFiles(node)
}

// checkRelabelling reports relabellings that lack what their action needs.
func (l *loader) checkRelabelling(list *yaml.Node, rcs []*relabel.Config, scheme model.ValidationScheme) {
	for i, rc := range rcs {
		if err := rc.Validate(scheme); err != nil {
			at := document.Resolve(list.Content[i])
			l.report(l.doc.Errorf(document.Blame(at, err.Error()), "%s", err))
		}
	}
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &joined):
		return joined.Unwrap()
	default:
		return []error{err}
	}
}

// checkListeners reports listeners that would be sent a job's credentials although nobody
// has named them: anybody on this machine can listen on a port.
func (l *loader) checkListeners(list *yaml.Node, raw *rawJob) {
	credentials := raw.Scrape.Credentials()
	if credentials == "" {
		return
	}
	for i, c := range raw.ListenerConfigs {
		entry := document.Resolve(list.Content[i])
		if c.NamesOwners() || document.Field(entry, "ports") != nil {
			continue
		}
		l.report(l.doc.Errorf(entry, "whatever listens on this machine would be sent the job's credentials (%s)", credentials).
			WithHint("say who may have them: write ports into this entry, or comm or exe with include"))
	}
}

// checkRefreshIntervals reports intervals of 0, with which Prometheus's discovery panics.
func (l *loader) checkRefreshIntervals(list *yaml.Node) {
	if list == nil {
		return
	}
	for _, entry := range list.Content {
		interval := document.Field(document.Resolve(entry), "refresh_interval")
		if interval == nil {
			continue
		}
		if d, err := model.ParseDuration(interval.Value); err == nil && d == 0 {
			l.report(l.doc.Errorf(interval, "refresh_interval has to be more than 0"))
		}
	}
}

// checkTargets reports static targets that are URLs rather than addresses, the
// commonest mistake of all. Relabelling may make addresses of them.
func (l *loader) checkTargets(groups *yaml.Node) {
	if groups == nil {
		return
	}
	for _, group := range groups.Content {
		targets := document.Field(group, "targets")
		if targets == nil {
			continue
		}
		for _, target := range targets.Content {
			target = document.Resolve(target)
			switch at := strings.LastIndexByte(target.Value, '@'); {
			case at >= 0:
				d := l.doc.Errorf(target, "the target %q has user info, which is no part of an address", target.Value[at+1:]).
					WithHint("write it as basic_auth: {username: …, password: …} into the job")
				d.Source = "" // it has a password in it
				l.report(d)
			case strings.Contains(target.Value, "/"):
				l.report(l.doc.Errorf(target, "the target %q is not an address", target.Value).
					WithHint("write host:port here, and the rest as scheme and metrics_path; a unix socket goes into the label __unix_socket__"))
			}
		}
	}
}

// job returns the checked form. Relative file names are relative to dir.
func (raw *rawJob) job(dir string) Job {
	raw.Scrape.SetDirectory(dir)
	var configs promdiscovery.Configs
	if len(raw.StaticConfigs) > 0 {
		for i, group := range raw.StaticConfigs {
			// Groups of one source replace each other.
			group.Source = strconv.Itoa(i)
		}
		configs = append(configs, promdiscovery.StaticConfig(raw.StaticConfigs))
	}
	for _, c := range raw.FileSDConfigs {
		configs = append(configs, c)
	}
	for _, c := range raw.HTTPSDConfigs {
		configs = append(configs, c)
	}
	configs.SetDirectory(dir)
	return Job{
		Scrape: &raw.Scrape,
		Discovery: discovery.Job{
			Name:      raw.Scrape.JobName,
			Scrape:    &raw.Scrape,
			Configs:   configs,
			Listeners: raw.ListenerConfigs,
		},
	}
}
