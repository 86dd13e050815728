package discovery

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// makeInterval is how long it takes until it is tried again to make a discoverer.
const makeInterval = 5 * time.Second

// maker is an entry's discoverer, which is made when it runs. That is tried until it can be
// done: a file that the entry names may be missing for a while.
type maker struct {
	config  discovery.Config
	options discovery.DiscovererOptions
}

// Run implements discovery.Discoverer.
func (m maker) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	said := ""
	for {
		d, err := copyOf(m.config).NewDiscoverer(m.options)
		if err == nil {
			d.Run(ctx, up)
			return
		}
		if err.Error() != said {
			said = err.Error()
			m.options.Logger.Error("Targets cannot be discovered", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(makeInterval):
		}
	}
}

// copyOf copies what discoverers change in their configuration: the first request for a token
// notes its proxy there.
func copyOf(c discovery.Config) discovery.Config {
	sd, ok := c.(*http.SDConfig)
	if !ok || sd.HTTPClientConfig.OAuth2 == nil {
		return c
	}
	own, oauth2 := *sd, *sd.HTTPClientConfig.OAuth2
	own.HTTPClientConfig.OAuth2 = &oauth2
	return &own
}
