package explain

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
)

// Whoever asks in a loop, targets are asked once an interval.
func TestTargetsAreAskedOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exposed
		began := time.Now()
		for i := range 5 {
			if problem := x.turn(t.Context(), 10*time.Second); problem != "" {
				t.Fatal(problem)
			}
			if got, want := time.Since(began), time.Duration(i)*10*time.Second; got != want {
				t.Errorf("turn %d after %s, want %s", i, got, want)
			}
		}
		time.Sleep(time.Minute)
		began = time.Now()
		if problem := x.turn(t.Context(), 10*time.Second); problem != "" || time.Since(began) != 0 {
			t.Errorf("after a minute the turn takes %s, %s", time.Since(began), problem)
		}

		// Nobody waits in vain: there has to be time to ask.
		short, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		if problem := x.turn(short, 10*time.Second); !strings.Contains(problem, "ask again in 10s") || short.Err() != nil || time.Since(began) != 0 {
			t.Errorf("with 12 s left: %q", problem)
		}

		// Nobody waits for long, and a question that does not wait takes nobody's turn.
		time.Sleep(4 * time.Second)
		for range 3 {
			if problem := x.turn(t.Context(), time.Minute); !strings.Contains(problem, "ask again in 56s") {
				t.Errorf("within an interval of a minute: %q", problem)
			}
		}
		time.Sleep(56 * time.Second)
		if problem := x.turn(t.Context(), time.Minute); problem != "" {
			t.Errorf("after a minute: %q", problem)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if problem := x.turn(ctx, 10*time.Second); problem == "" {
			t.Error("a question that has ended has its turn")
		}
	})
}

// An explanation that had no time to ask for everything goes on, when it is asked for
// again, with what it knows.
func TestAnswersAreKeptForTheNextTurn(t *testing.T) {
	r, l := testLive(t, `
scrape_configs: [{job_name: a, scrape_interval: 1m, static_configs: [{targets: ["localhost:1"]}]}]
presets: []
collectors: {http: {enabled: false}, iowait: {enabled: false}}
`)
	x, p := &l.exposed, r.Pipeline()
	ask := func(metric string) exposedAnswer {
		return x.ask(t.Context(), r, p, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, metric)})
	}
	if first := ask("first"); first.partial {
		t.Fatalf("the first question: %q", first.problems)
	}
	if second := ask("second"); !second.partial {
		t.Error("the second question has its turn at once")
	}
	first := exposedQuestion{selector: "first"}
	old := x.answers[first]
	old.at = old.at.Add(-time.Minute)
	x.answers[first] = old
	if again := ask("first"); again.partial {
		t.Errorf("the first question again: %q", again.problems)
	}
	x.keep = time.Time{}
	if again := ask("first"); !again.partial {
		t.Error("the answer is as good as ever")
	}
}

// Targets that do not say what they serve cost nobody the answers of the others.
func TestAskTargets(t *testing.T) {
	serve := func(metric string, quick bool) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !quick && r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") == "1" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintln(w, metric, 1)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	tls := httptest.NewTLSServer(nil)
	tls.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, l := testLive(t, `
scrape_configs:
  - job_name: quick
    relabel_configs: [{target_label: __scrape_timeout__, replacement: 3s}]
    static_configs: [{targets: ["localhost:1"]}]
  - {job_name: slow, static_configs: [{targets: ["localhost:2"]}]}
  - {job_name: sealed, tls_config: {ca_file: `+ca+`}, static_configs: [{targets: ["localhost:3"]}]}
presets: []
collectors: {http: {enabled: false}, iowait: {enabled: false}}
`)
	p := r.Pipeline()
	ctx, cancel := context.WithCancel(t.Context())
	sets := make(chan map[string][]*targetgroup.Group, 1)
	set := map[string][]*targetgroup.Group{}
	slow := serve("app_slow", false)
	for job, address := range map[string]string{"quick": serve("app_quick", true), "slow": slow, "sealed": serve("app_sealed", true)} {
		set[job] = []*targetgroup.Group{{Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(address)}}}}
	}
	sets <- set
	done := make(chan error, 1)
	go func() { done <- p.Scrape.Run(ctx, sets) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	awaitReady(t.Context(), p.Scrape)
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	answer := l.exposed.ask(t.Context(), r, p, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, "app_.*")})
	if len(answer.series) != 1 || answer.series[0].Labels.Get(model.MetricNameLabel) != "app_quick" {
		t.Errorf("series: %v", answer.series)
	}
	problems := strings.Join(answer.problems, "\n")
	for _, want := range []string{"Target slow " + slow + " could not be asked what it serves: ", "Target sealed 127.0.0.1:", "ca.pem"} {
		if !strings.Contains(problems, want) {
			t.Errorf("problems do not say %q:\n%s", want, problems)
		}
	}
	if len(answer.problems) != 2 || !answer.partial {
		t.Errorf("partial: %v, problems:\n%s", answer.partial, problems)
	}
}
