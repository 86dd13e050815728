package pipeline

import (
	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// claims are the endpoints of jobs that name them: static targets from the
// start, and what files and HTTP discovery have come up with.
func (p *Pipeline) claims() []discovery.Claim {
	claims := staticClaims(p.Config)
	for _, t := range p.Scrape.Targets() {
		if t.URL == "" || t.Discovered.Get(job.LabelListenerNetNS) != "" {
			continue
		}
		claims = append(claims, claimOf(t.Discovered.Get))
	}
	return claims
}

func staticClaims(cfg *config.Config) []discovery.Claim {
	var claims []discovery.Claim
	for _, job := range cfg.Jobs {
		for _, c := range job.Discovery.Configs {
			groups, _ := c.(promdiscovery.StaticConfig)
			for _, group := range groups {
				for _, target := range group.Targets {
					claims = append(claims, claimOf(func(name string) string {
						if v, ok := target[model.LabelName(name)]; ok {
							return string(v)
						}
						if v, ok := group.Labels[model.LabelName(name)]; ok {
							return string(v)
						}
						if name == model.MetricsPathLabel {
							return job.Scrape.MetricsPath
						}
						return ""
					}))
				}
			}
		}
	}
	return claims
}

func claimOf(label func(name string) string) discovery.Claim {
	return discovery.Claim{
		Address:    label(model.AddressLabel),
		UnixSocket: label(job.LabelUnixSocket),
		Path:       label(model.MetricsPathLabel),
	}
}
