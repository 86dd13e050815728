package scrape_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
	"google.golang.org/protobuf/proto"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// TestSettings scrapes an exposition under settings, and looks at what is kept.
func TestSettings(t *testing.T) {
	const openMetrics = "application/openmetrics-text; version=1.0.0"
	// Validating writes to it.
	drop := func() []*relabel.Config {
		return []*relabel.Config{{
			Action: relabel.Drop, SourceLabels: model.LabelNames{"x"}, Regex: relabel.MustNewRegexp("2"), Separator: ";",
		}}
	}
	rename := []*relabel.Config{{
		Action: relabel.Replace, SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("old_(.*)"),
		TargetLabel: "__name__", Replacement: "$1", Separator: ";",
	}}
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of all bubbles
	old := begin.Add(-30 * time.Second).UnixMilli()
	ahead := begin.Add(time.Hour).UnixMilli()
	for name, c := range map[string]struct {
		contentType string
		encoding    string
		body        string
		set         func(*job.Config)
		want        map[string]string // INST and its label stand for the target
		err         string
		parsesAll   string
	}{
		"honor_labels off": {
			body: "a{job=\"x\",exported_job=\"y\"} 1\n",
			want: map[string]string{`{__name__="a", exported_exported_job="x", exported_job="y", INST, job="j"}`: "1"},
		},
		"honor_labels on": {
			body: "a{job=\"x\"} 1\n",
			set:  func(j *job.Config) { j.HonorLabels = true },
			want: map[string]string{`{__name__="a", INST, job="x"}`: "1"},
		},
		"honor_timestamps on": {
			body: fmt.Sprintf("a 1 %d\na{x=\"far\"} 1 %d\n", old, ahead),
			want: map[string]string{`{__name__="a", INST, job="j"}`: "1"},
		},
		"sample_limit": {
			body: "a 1\nb 1\nc 1\n",
			set:  func(j *job.Config) { j.SampleLimit = 2 },
			err:  "sample_limit of 2 exceeded",
		},
		"sample_limit after metric_relabel_configs": {
			body:      "a{x=\"1\"} 1\na{x=\"2\"} 1\nother{x=\"2\"} 1\nc 1\n",
			set:       func(j *job.Config) { j.SampleLimit, j.MetricRelabelConfigs = 2, drop() },
			want:      map[string]string{`{__name__="a", INST, job="j", x="1"}`: "1"},
			parsesAll: "metric_relabel_configs can drop series, and sample_limit counts those that are left",
		},
		"metric_relabel_configs": {
			body: "a{x=\"1\"} 1\na{x=\"2\"} 1\n",
			set:  func(j *job.Config) { j.MetricRelabelConfigs = drop() },
			want: map[string]string{`{__name__="a", INST, job="j", x="1"}`: "1"},
		},
		"metric_relabel_configs that rename": {
			body:      "old_a 1\n",
			set:       func(j *job.Config) { j.MetricRelabelConfigs = rename },
			want:      map[string]string{`{__name__="a", INST, job="j"}`: "1"},
			parsesAll: "metric_relabel_configs can write __name__",
		},
		"label_limit": {
			body: "a{x=\"1\"} 1\n",
			set:  func(j *job.Config) { j.LabelLimit = 3 },
			err:  "label_limit of 3 exceeded: a has 4 labels",
		},
		"body_size_limit": {
			body: "a 1\n# more\n",
			set:  func(j *job.Config) { j.BodySizeLimit = 10 },
			err:  "body_size_limit of 10 bytes exceeded",
		},
		"fallback_scrape_protocol": {
			contentType: "application/whatever",
			body:        "a 1\n",
			set:         func(j *job.Config) { j.ScrapeFallbackProtocol = exposition.PrometheusText0_0_4 },
			want:        map[string]string{`{__name__="a", INST, job="j"}`: "1"},
		},
		"no fallback_scrape_protocol": {
			contentType: "application/whatever",
			body:        "a 1\n",
			err:         `unsupported Content-Type "application/whatever" and no fallback_scrape_protocol`,
		},
		"OpenMetrics": {
			contentType: openMetrics,
			body:        "# TYPE a counter\na_total 1\na 2 # {trace=\"1\"} 1\n# EOF\n",
			want:        map[string]string{`{__name__="a", INST, job="j"}`: "2"},
		},
		"a long line that is none": {
			body: "a " + strings.Repeat("x", 1000) + "\n",
			err:  `strconv.ParseFloat: parsing "` + strings.Repeat("x", 100-len(`: parsing "`)) + "…",
		},
		"a line that is none, of a job with credentials": {
			body: "a x\n",
			set: func(j *job.Config) {
				j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "p"}
			},
			err: "strconv.ParseFloat… (not quoted, since the job has credentials)",
		},
		"Content-Encoding that is none": {
			encoding: "text/plain",
			body:     "a 1\n",
			want:     map[string]string{`{__name__="a", INST, job="j"}`: "1"},
		},
		"OpenMetrics cut short": {
			contentType: openMetrics,
			body:        "a 1\n",
			err:         "data does not end with # EOF",
		},
		"metric_name_validation_scheme": {
			body: "{\"a\",\"ü\"=\"1\"} 1\n",
			set:  func(j *job.Config) { j.MetricNameValidationScheme = model.LegacyValidation },
			err:  `invalid metric name or label names: {__name__="a", INST, job="j", "ü"="1"}`,
		},
		"convert_classic_histograms_to_nhcb": {
			body: "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 3\na_sum 5\na_count 3\n",
			set:  func(j *job.Config) { j.ConvertClassicHistogramsToNHCB = true },
			want: map[string]string{`{__name__="a", INST, job="j"}`: "{count:3, sum:5, [-Inf,1]:1, (1,+Inf]:2}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				j := jobNamed("j")
				if c.set != nil {
					c.set(j)
				}
				if c.contentType == "" {
					c.contentType = text
				}
				addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", c.contentType)
					w.Header().Set("Content-Encoding", c.encoding)
					_, _ = io.WriteString(w, c.body)
				}))
				r := start(t, n, []*job.Config{j}, scrape.Options{}, `a`, `up`)
				r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
				inst := fmt.Sprintf("instance=%q", addr)
				up := "1"
				if c.err != "" {
					up = "0"
				}
				r.eventually(`up`, map[string]string{`{__name__="up", ` + inst + `, job="j"}`: up})
				want := map[string]string{}
				for series, v := range c.want {
					want[strings.Replace(series, "INST", inst, 1)] = v
				}
				r.eventually(`a`, want)
				s := r.Targets()[0]
				if s.LastError != strings.Replace(c.err, "INST", inst, 1) || s.ParsesAll != c.parsesAll {
					t.Errorf("error %q, parses all: %q", s.LastError, s.ParsesAll)
				}
			})
		})
	}
}

func TestReportSeries(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string { return "a 1\nb{x=\"1\"} 1\nb{x=\"2\"} 1\n" })
		j := jobNamed("j")
		j.ExtraScrapeMetrics, j.SampleLimit = true, 10
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `a`, `{__name__=~"scrape_(samples.*|timeout.*|sample_limit|body.*)"}`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		name := func(metric string) string {
			return fmt.Sprintf(`{__name__="scrape_%s", instance="%s", job="j"}`, metric, addr)
		}
		r.eventually(`{__name__=~"scrape_.+"}`, map[string]string{
			name("samples_scraped"):                "3",
			name("samples_post_metric_relabeling"): "3",
			name("timeout_seconds"):                "0.1",
			name("sample_limit"):                   "10",
			name("body_size_bytes"):                "26",
		})
	})
}

// What is no exposition is that too where no rule wants a line of it.
func TestNoExposition(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body, err string }{
		"a word":             {"text/plain", "OK\n", `expected value after metric, got "\n" ("INVALID") while parsing: "OK\n"`},
		"a sentence":         {"text/plain; charset=utf-8", "hello world this is a server\n", `strconv.ParseFloat: parsing "world": invalid syntax while parsing: "hello world"`},
		"CRLF":               {text, "# HELP b_x x\r\n# TYPE b_x gauge\r\nb_x 1\r\n", `invalid metric type "gauge\r"`},
		"CRLF, only samples": {text, "b_x 1\r\n", `strconv.ParseFloat: parsing "1\r": invalid syntax while parsing: "b_x 1\r"`},
		"OpenMetrics":        {"application/openmetrics-text; version=1.0.0", "b_x one\n# EOF\n", `strconv.ParseFloat: parsing "one": invalid syntax while parsing: "b_x one"`},
		"nothing":            {text, "", ""},
		"comments":           {text, "# nothing yet\n", ""},
		"none that is wanted": {
			text, "# TYPE b histogram\nb_bucket{le=\"1\"} 1\nb_bucket{le=\"+Inf\"} 3\nb_sum 5\nb_count 3\n{\"c.d\"} 4\n", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				addr := n.exporter(c.contentType, func() string { return c.body })
				r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{}, `a`)
				r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
				time.Sleep(time.Second)
				if s := r.Targets()[0]; s.LastError != c.err || (s.Health == scrape.HealthUp) != (c.err == "") {
					t.Errorf("%s, error %q", s.Health, s.LastError)
				}
			})
		})
	}
}

// A target that answers as before is not looked at again, which would cost each scrape. One
// that failed, or has another Content-Type, may have become something else.
func TestBecomesNoExposition(t *testing.T) {
	const good, bad = "a 1\nb 1\n", "a 1\nb one\n"
	bubble(t, func(t *testing.T, n *network) {
		var status, contentType, body atomic.Value
		answer := func(s int, c, b string) { status.Store(s); contentType.Store(c); body.Store(b) }
		answer(http.StatusOK, text, good)
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType.Load().(string))
			w.WriteHeader(status.Load().(int))
			_, _ = io.WriteString(w, body.Load().(string))
		}))
		r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{}, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		health := func(when string, want scrape.Health) {
			t.Helper()
			time.Sleep(time.Second)
			if s := r.Targets()[0]; s.Health != want {
				t.Errorf("%s: %s %s", when, s.Health, s.LastError)
			}
		}
		health("at first", scrape.HealthUp)
		answer(http.StatusOK, text, bad)
		health("a bad line", scrape.HealthUp)
		answer(http.StatusOK, "text/plain", bad)
		health("with another Content-Type", scrape.HealthDown)
		answer(http.StatusOK, text, good)
		health("good again", scrape.HealthUp)
		answer(http.StatusServiceUnavailable, text, good)
		health("an error", scrape.HealthDown)
		answer(http.StatusOK, text, bad)
		health("a bad line after it", scrape.HealthDown)
	})
}

// A target whose job names a file that cannot be read is down until it can.
func TestFileOfSettingsComesBack(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string { return "a 1\n" })
		j := jobNamed("j")
		j.HTTPClientConfig.TLSConfig.CAFile = ca
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `a`, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		up := fmt.Sprintf(`{__name__="up", instance="%s", job="j"}`, addr)
		time.Sleep(time.Second)
		r.eventually(`up`, map[string]string{up: "0"})
		s := r.Targets()[0]
		if want := "creating the HTTP client: unable to read CA cert: unable to read file " + ca + ": open " + ca + ": no such file or directory"; s.LastError != want {
			t.Errorf("error %q, want %q", s.LastError, want)
		}
		if n, err := testutil.GatherAndCount(r.reg, "promscope_scrape_failures_total"); err != nil || n != 1 {
			t.Errorf("%d series of failures, %v", n, err)
		}
		if len(r.Dropped()) > 0 {
			t.Errorf("dropped: %v", r.Dropped())
		}
		if err := os.WriteFile(ca, certificate, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.eventually(`up`, map[string]string{up: "1"})
		if err := os.Remove(ca); err != nil { // and is down as well when it goes again
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.eventually(`up`, map[string]string{up: "0"})
		if n, err := testutil.GatherAndCount(r.reg, "promscope_scrape_failures_total"); err != nil || n != 1 {
			t.Errorf("there is another reason: %d series of failures, %v", n, err)
		}
	})
}

// Native histograms that are none fail their scrape, as in Prometheus, and nothing else.
func TestBadHistograms(t *testing.T) {
	span := []*dto.BucketSpan{{Offset: proto.Int32(5), Length: proto.Uint32(1)}}
	for name, test := range map[string]struct {
		bad *dto.Histogram
		err string
	}{
		"custom buckets without bounds": {
			&dto.Histogram{SampleCountFloat: proto.Float64(1), Schema: proto.Int32(-53), PositiveSpan: span, PositiveCount: []float64{1}},
			"native histogram a: custom buckets: only 0 custom bounds defined",
		},
		"a schema that there is not": {
			&dto.Histogram{SampleCount: proto.Uint64(1), Schema: proto.Int32(60), PositiveSpan: span, PositiveDelta: []int64{1}},
			"native histogram a: histogram has an invalid schema",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				threshold := 0.0 // another one in the second scrape: then the buckets are compared
				addr := n.exporter("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", func() string {
					test.bad.ZeroThreshold = proto.Float64(threshold)
					threshold = 0.001
					var b bytes.Buffer
					enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeProtoDelim))
					if err := enc.Encode(&dto.MetricFamily{Name: proto.String("a"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: test.bad}}}); err != nil {
						t.Error(err)
					}
					return b.String()
				})
				j := jobNamed("j")
				j.ScrapeNativeHistograms = true
				r := start(t, n, []*job.Config{j}, scrape.Options{}, `a`, `up`)
				r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
				time.Sleep(time.Second)
				r.eventually(`up`, map[string]string{fmt.Sprintf(`{__name__="up", instance="%s", job="j"}`, addr): "0"})
				r.eventually(`a`, map[string]string{})
				if s := r.Targets()[0]; !strings.HasPrefix(s.LastError, test.err) {
					t.Errorf("error %q", s.LastError)
				}
			})
		})
	}
}
