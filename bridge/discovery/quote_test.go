package discovery

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/discovery"
	httpsd "github.com/prometheus/prometheus/discovery/http"
)

// lines hands on what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// What servers answer is in the log neither with secrets nor in full.
func TestLogQuotes(t *testing.T) {
	token := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("sesame ", 100_000))
	}))
	defer token.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", strings.Repeat("sesame/", 100))
	}))
	defer server.Close()
	for name, tc := range map[string]struct {
		set  func(*httpsd.SDConfig)
		want string
	}{
		"a token server": {
			func(c *httpsd.SDConfig) {
				c.HTTPClientConfig.OAuth2 = &config.OAuth2{ClientID: "id", ClientSecret: "sesame", TokenURL: token.URL}
			},
			`"oauth2: cannot fetch token: 401… \(not quoted, since the job has credentials\)"`,
		},
		"a server": {func(*httpsd.SDConfig) {}, `"unsupported content type \\"(sesame/){14}s…"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := httpsd.DefaultSDConfig
			c.URL = server.URL
			tc.set(&c)
			logged := make(lines, 100)
			scrape := jobOf(nil)
			m, err := New([]Job{{Name: "j", Scrape: &scrape, Configs: discovery.Configs{&c}}}, nil,
				slog.New(slog.NewTextHandler(logged, nil)), prometheus.NewRegistry(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- m.Run(ctx) }()
			want := regexp.MustCompile(`level=ERROR msg="Unable to refresh target groups" discovery=http job=j url=` + server.URL + ` err=` + tc.want + "\n$")
			if got := <-logged; !want.MatchString(got) {
				t.Errorf("got %.500s\nwant %s", got, want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
