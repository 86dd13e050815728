package discovery

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/ebpf/port"
)

// A listener is asked as its job would scrape it, and is a target of the job that can.
func TestAsksAsTheJob(t *testing.T) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); r.URL.Path == "/auth" && (user != "u" || password != "p") {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		switch {
		case r.URL.Path == "/param" && r.URL.Query().Get("module") != "m":
			http.Error(w, "which module?", http.StatusBadRequest)
			return
		case r.URL.Path == "/header" && r.Header.Get("X-Scope") != "team":
			http.Error(w, "whose?", http.StatusForbidden)
			return
		case r.URL.Path == "/untyped":
			w.Header()["Content-Type"] = nil
		case r.URL.Path == "/octets":
			w.Header().Set("Content-Type", "application/octet-stream")
		case r.URL.Path == "/slash":
			http.Redirect(w, r, "/slash/", http.StatusMovedPermanently)
			return
		default:
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		}
		fmt.Fprint(w, metrics)
	}
	plain, secure := httptest.NewServer(http.HandlerFunc(serve)), httptest.NewTLSServer(http.HandlerFunc(serve))
	defer plain.Close()
	defer secure.Close()
	relabelled := func(target, replacement string) func(*job.Config) {
		return func(j *job.Config) {
			j.RelabelConfigs = []*relabel.Config{{
				Action: relabel.Replace, TargetLabel: target, Replacement: replacement, Separator: ";",
				Regex: relabel.MustNewRegexp("(.*)"), NameValidationScheme: model.UTF8Validation,
			}}
		}
	}
	for _, tc := range []struct {
		name, path string
		secure     bool
		set        func(*job.Config)
		without    string // what an asker of a job that says nothing is told
	}{
		{"credentials", "/auth", false, func(j *job.Config) {
			j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "p"}
		}, "HTTP status 401"},
		{"TLS", "/", true, func(j *job.Config) {
			j.Scheme, j.HTTPClientConfig.TLSConfig.InsecureSkipVerify = "https", true
		}, "HTTP status 400"},
		{"parameters", "/param", false, func(j *job.Config) { j.Params = map[string][]string{"module": {"m"}} }, "HTTP status 400"},
		{"headers", "/header", false, func(j *job.Config) {
			j.HTTPClientConfig.HTTPHeaders = &config.Headers{Headers: map[string]config.Header{"X-Scope": {Values: []string{"team"}}}}
		}, "HTTP status 403"},
		{"a fallback protocol", "/octets", false, func(j *job.Config) {
			j.ScrapeFallbackProtocol = exposition.PrometheusText0_0_4
		}, "unsupported Content-Type"},
		{"a relabelled path", "/param", false, relabelled("__metrics_path__", "/fine"), "HTTP status 400"},
		{"a relabelled parameter", "/param", false, relabelled("__param_module", "m"), "HTTP status 400"},
		{"no Content-Type", "/untyped", false, nil, ""},
		{"a redirect on the listener", "/slash", false, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := newTestProber(t, "/proc", nil)
			s := plain
			if tc.secure {
				s = secure
			}
			e := asks(s.Listener.Addr().String(), 1)
			e.path = tc.path
			_, result, err := p.get(e)
			if told := err != nil && strings.Contains(err.Error(), tc.without); told != (tc.without != "") {
				t.Errorf("a job that says nothing: %s %v, want %q", result, err, tc.without)
			}
			j := jobOf(tc.set)
			e.asker = p.askerOf(&j)
			if _, result, err := p.get(e); result != probeExposition {
				t.Errorf("%s: %v", result, err)
			}
		})
	}
}

// What relabelling drops is not asked: the job would not scrape it.
func TestAskerRelabelling(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	p, _ := newTestProber(t, "/proc", nil)
	j := jobOf(func(j *job.Config) {
		j.RelabelConfigs = []*relabel.Config{{
			Action: relabel.Drop, SourceLabels: model.LabelNames{"__meta_listener_comm"}, Separator: ";",
			Regex: relabel.MustNewRegexp("java"), NameValidationScheme: model.UTF8Validation,
		}}
	})
	e := asks(s.Listener.Addr().String(), 1)
	e.Owner.PID, e.Owner.Comm, e.asker = 100, "java", p.askerOf(&j)
	if _, result, err := p.get(e); result != probeOther || asked > 0 {
		t.Errorf("%s %v, asked %d times", result, err, asked)
	}
}

// Jobs that ask alike are one asker, as after a reload; others are not, and a listener
// that refused one of them is still asked for the other.
func TestAskers(t *testing.T) {
	p, _ := newTestProber(t, "/proc", nil)
	named := func(name, password string, rules ...*relabel.Config) *asker {
		j := jobOf(func(j *job.Config) {
			j.JobName, j.RelabelConfigs = name, rules
			j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: config.Secret(password)}
		})
		return p.askerOf(&j)
	}
	with := func(password string) *asker { return named("local", password) }
	if first := with("a"); with("a") != first || with("b") == first || named("other", "a") != first {
		t.Error("askers are told apart by something else than how they ask")
	}
	rule := func(action relabel.Action, source, target string) *relabel.Config {
		rc := relabel.DefaultRelabelConfig
		rc.Action, rc.SourceLabels, rc.TargetLabel = action, model.LabelNames{model.LabelName(source)}, target
		return &rc
	}
	mapped := func(regex string) *relabel.Config {
		rc := relabel.DefaultRelabelConfig
		rc.Action, rc.Regex = relabel.LabelMap, relabel.MustNewRegexp(regex)
		return &rc
	}
	for _, tc := range []struct {
		rule  *relabel.Config
		reads bool
	}{
		{rule(relabel.Replace, "__meta_listener_comm", "program"), false},
		{rule(relabel.Replace, "job", "__param_module"), true},
		{rule(relabel.KeepEqual, "__meta_listener_comm", "job"), true},
		{mapped("__meta_listener_(.+)"), false},
		{mapped("(job|__meta_listener_.+)"), true},
	} {
		if got := named("local", "a", tc.rule) != named("other", "a", tc.rule); got != tc.reads {
			t.Errorf("%+v: jobs of two names are two askers: %v", tc.rule, got)
		}
	}
	p.answerBy(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n") })
	e := asks("127.0.0.1:9100", 1)
	d := p.discovers(testInterval)
	for range 2 {
		for _, password := range []string{"a", "b"} {
			e.asker = with(password)
			d.finds(e)
			p.asking.Wait()
		}
	}
	if got := len(p.verdicts); got != 2 {
		t.Errorf("%d verdicts, want 2", got)
	}
}

// Credentials do not go to unix sockets that nobody named: ports say nothing of these.
func TestCredentialsAndUnixSockets(t *testing.T) {
	p, _ := newTestProber(t, fixtureTree(t).Root, nil)
	secretive := jobOf(func(j *job.Config) { j.HTTPClientConfig.BearerToken = "hunter2" })
	for _, tc := range []struct {
		name string
		as   *job.Config
		set  func(*ListenerSDConfig)
		want []string // the owners of unix sockets
	}{
		{"without credentials", &plainly.job, func(*ListenerSDConfig) {}, []string{"app-agent"}},
		{"with credentials", &secretive, func(*ListenerSDConfig) {}, nil},
		{"with credentials and a name", &secretive, func(c *ListenerSDConfig) {
			c.Comm.Include = []relabel.Regexp{relabel.MustNewRegexp("app-agent")}
		}, []string{"app-agent"}},
	} {
		c := sdConfig(t, tc.set)
		if diff := cmp.Diff(tc.want, unixOwners(t, p, &Entry{Scrape: tc.as, Config: &c})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.name, diff)
		}
	}
}

// unixOwners returns the owners of the unix sockets that an entry takes.
func unixOwners(t *testing.T, p *Prober, e *Entry) (owners []string) {
	t.Helper()
	for _, found := range looks(t, p, e) {
		if found.Path != "" {
			owners = append(owners, found.Owner.Comm)
		}
	}
	return owners
}

// A unix socket is one job's: no port tells whose it is. A job that names owners has
// theirs as well, as it has their ports.
func TestUnixSocketsOnce(t *testing.T) {
	p, _ := newTestProber(t, fixtureTree(t).Root, nil)
	secretive, plain := jobOf(func(j *job.Config) { j.HTTPClientConfig.BearerToken = "hunter2" }), jobOf(nil)
	entry := func(set func(*ListenerSDConfig)) []*ListenerSDConfig {
		c := sdConfig(t, set)
		return []*ListenerSDConfig{&c}
	}
	on := func(n uint16) func(*ListenerSDConfig) {
		return func(c *ListenerSDConfig) { c.Ports = port.Set{{First: n, Last: n}} }
	}
	agent := []relabel.Regexp{relabel.MustNewRegexp("app-agent")}
	var got [][]string
	_, err := New([]Job{
		{Name: "secretive", Scrape: &secretive, Listeners: entry(on(9100))},
		{Name: "others", Scrape: &plain, Listeners: entry(func(c *ListenerSDConfig) { c.Comm.Exclude = agent })},
		{Name: "first", Scrape: &plain, Listeners: append(entry(on(9100)), entry(on(9101))...)},
		{Name: "second", Scrape: &plain, Listeners: entry(on(8080))},
		{Name: "named", Scrape: &plain, Listeners: entry(func(c *ListenerSDConfig) { c.Comm.Include = agent })},
	}, func(e *Entry, _ *slog.Logger) discovery.Discoverer {
		got = append(got, unixOwners(t, p, e))
		return nil
	}, promslog.NewNopLogger(), prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	owner := []string{"app-agent"}
	// The entries of one job make the same target of it.
	if diff := cmp.Diff([][]string{nil, nil, owner, owner, nil, owner}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
