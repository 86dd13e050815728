package job

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/mapping/secret"
)

// Credentials names the key that has each request of the job carry something that is
// not for everybody: who has it can pass for promscope. It is "" if no key does. What is
// meant for a proxy does not count, since targets do not get it.
func (c *Config) Credentials() string {
	h := &c.HTTPClientConfig
	switch {
	case h.BasicAuth != nil:
		return "basic_auth"
	case h.Authorization != nil:
		return "authorization"
	case h.OAuth2 != nil:
		return "oauth2"
	case h.BearerToken != "":
		return "bearer_token"
	case h.BearerTokenFile != "":
		return "bearer_token_file"
	case h.TLSConfig.Cert != "" || h.TLSConfig.CertFile != "" || h.TLSConfig.CertRef != "":
		return "tls_config" // a client certificate
	case h.HTTPHeaders != nil:
		for _, name := range slices.Sorted(maps.Keys(h.HTTPHeaders.Headers)) {
			header := h.HTTPHeaders.Headers[name]
			if len(header.Secrets)+len(header.Files) > 0 || secret.Name(name) {
				return "http_headers"
			}
		}
	}
	for name := range c.Params {
		if secret.Name(name) {
			return "params"
		}
	}
	for _, rc := range c.RelabelConfigs {
		if name, ok := strings.CutPrefix(rc.TargetLabel, model.ParamLabelPrefix); ok && secret.Name(name) {
			return "relabel_configs"
		}
	}
	return ""
}
