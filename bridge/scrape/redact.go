package scrape

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/prometheus/common/config"
)

const redacted = "<secret>"

// redactor takes a job's secrets out of what people get to see.
type redactor struct {
	secrets *strings.Replacer
	names   *regexp.Regexp
}

func newRedactor(c *config.HTTPClientConfig) *redactor {
	var pairs []string
	hide := func(s string) {
		// Shorter ones would garble the text and protect nothing.
		if len(s) >= 4 {
			pairs = append(pairs, s, redacted, url.QueryEscape(s), redacted)
		}
	}
	names := regexp.MustCompile(`(?i)(token|secret|passw|auth|credential|signature|api.?key|^key$|^sig$)`)
	hideQuery := func(address string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		for name, values := range u.Query() {
			if names.MatchString(name) {
				for _, v := range values {
					hide(v)
				}
			}
		}
	}
	hide(string(c.BearerToken))
	if a := c.Authorization; a != nil {
		hide(string(a.Credentials))
	}
	if a := c.BasicAuth; a != nil {
		hide(string(a.Password))
	}
	if a := c.OAuth2; a != nil {
		hide(string(a.ClientSecret))
		hide(string(a.ClientCertificateKey))
		hideQuery(a.TokenURL)
	}
	if c.ProxyURL.URL != nil {
		if p, ok := c.ProxyURL.User.Password(); ok {
			hide(p)
		}
	}
	if c.HTTPHeaders != nil {
		for _, h := range c.HTTPHeaders.Headers {
			for _, s := range h.Secrets {
				hide(string(s))
			}
		}
	}
	return &redactor{
		secrets: strings.NewReplacer(pairs...),
		names:   names,
	}
}

// url shows a URL without user info and without the values of parameters that
// are secret by their names.
func (r *redactor) url(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := *u
	shown.User = nil
	if shown.RawQuery != "" {
		query := shown.Query()
		for name, values := range query {
			if r.names.MatchString(name) {
				for i := range values {
					values[i] = "xxxxx"
				}
			}
		}
		shown.RawQuery = query.Encode()
	}
	return r.secrets.Replace(shown.String())
}

// error tells what went wrong, without the URL that net/http puts before it:
// whoever reads it knows the target.
func (r *redactor) error(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return r.secrets.Replace(err.Error())
}
