package secret

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/common/config"
)

// minLength is the length from which on a known secret is hidden, in bytes. A shorter
// one would garble the text and protect nothing.
const minLength = 4

// Values hides the secrets of one HTTP client wherever they occur: servers repeat in
// their answers what they were sent.
type Values struct{ replacer *strings.Replacer }

// ValuesOf returns the secrets of a client's configuration.
func ValuesOf(c *config.HTTPClientConfig) *Values {
	secrets := []string{string(c.BearerToken)}
	if a := c.Authorization; a != nil {
		secrets = append(secrets, string(a.Credentials))
	}
	if a := c.BasicAuth; a != nil {
		secrets = append(secrets, string(a.Password), basic(a.Username, string(a.Password)))
	}
	if a := c.OAuth2; a != nil {
		secrets = append(secrets, string(a.ClientSecret), string(a.ClientCertificateKey),
			basic(url.QueryEscape(a.ClientID), url.QueryEscape(string(a.ClientSecret))))
		if u, err := url.Parse(a.TokenURL); err == nil {
			for name, values := range u.Query() {
				if Name(name) {
					secrets = append(secrets, values...)
				}
			}
		}
		secrets = append(secrets, ofProxy(&a.ProxyConfig)...)
	}
	secrets = append(secrets, ofProxy(&c.ProxyConfig)...)
	if c.HTTPHeaders != nil {
		for _, header := range c.HTTPHeaders.Headers {
			for _, s := range header.Secrets {
				secrets = append(secrets, string(s))
			}
		}
	}
	// Of two secrets that begin alike the longer one comes first.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minLength {
			pairs = append(pairs, s, Mark, url.QueryEscape(s), Mark)
		}
	}
	return &Values{strings.NewReplacer(pairs...)}
}

// ofProxy returns what a proxy is sent.
func ofProxy(c *config.ProxyConfig) []string {
	var secrets []string
	if c.ProxyURL.URL != nil {
		password, _ := c.ProxyURL.User.Password()
		secrets = append(secrets, password, basic(c.ProxyURL.User.Username(), password))
	}
	for _, values := range c.ProxyConnectHeader {
		for _, s := range values {
			secrets = append(secrets, string(s))
		}
	}
	return secrets
}

// basic is how the header Authorization has a password; "" if there is none.
func basic(username, password string) string {
	if password == "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
}

// text hides the values in a text, and does what the function Text does.
func (v *Values) text(text string) string { return Text(v.replacer.Replace(text)) }

// URL shows a URL without user info; "" if it is nil.
func (v *Values) URL(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := *u
	shown.User = nil
	return v.text(shown.String())
}

// Error tells what went wrong, without the URL that net/http puts before it: the
// target's stands beside it already.
func (v *Values) Error(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return v.text(err.Error())
}
