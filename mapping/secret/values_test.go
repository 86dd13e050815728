package secret

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/config"
)

func TestValues(t *testing.T) {
	proxy, err := url.Parse("http://user:hush-proxy@proxy/")
	if err != nil {
		t.Fatal(err)
	}
	v := ValuesOf(&config.HTTPClientConfig{
		BearerToken:   "hush",
		Authorization: &config.Authorization{Credentials: "hush-authorization"},
		BasicAuth:     &config.BasicAuth{Username: "visible", Password: "hush basic"},
		OAuth2: &config.OAuth2{
			ClientID: "visible", ClientSecret: "hush-client", ClientCertificateKey: "hush-key", TokenURL: "http://sso/?api_key=hush-api&realm=visible",
		},
		ProxyConfig: config.ProxyConfig{ProxyURL: config.URL{URL: proxy}, ProxyConnectHeader: config.ProxyHeader{"X": {"hush-connect"}}},
		HTTPHeaders: &config.Headers{Headers: map[string]config.Header{"X": {Secrets: []config.Secret{"hush-header", "abc"}}}},
	})
	text := "visible hush hush-authorization hush+basic hush%20basic hush basic hush-client hush-key hush-api hush-proxy hush-header abc" +
		" hush-connect dXNlcjpodXNoLXByb3h5 dmlzaWJsZTpodXNoIGJhc2lj dmlzaWJsZTpodXNoLWNsaWVudA=="
	want := "visible <secret> <secret> <secret> <secret>%20basic <secret> <secret> <secret> <secret> <secret> <secret> abc" +
		" <secret> <secret> <secret> <secret>"
	if got := v.text(text); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	u := &url.URL{Scheme: "http", User: url.UserPassword("u", "hush-user"), Host: "h", RawQuery: "key=k&module=hush-header&y=1"}
	if got, want := v.URL(u), "http://h?key=<secret>&module=<secret>&y=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := v.URL(nil); got != "" {
		t.Errorf("no URL is shown as %q", got)
	}
	broken := &url.Error{Op: "Get", URL: "http://h/?token=t", Err: errors.New("hush-client is refused by http://h/?token=t")}
	if got, want := v.Error(broken), "<secret> is refused by http://h/?token=<secret>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNoValues(t *testing.T) {
	if got := ValuesOf(&config.HTTPClientConfig{}).text("nothing is secret"); !strings.Contains(got, "nothing is secret") {
		t.Errorf("got %s", got)
	}
}
