package scrape_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// accepted is the origin of all connections.
func accepted(context.Context, net.Conn) labels.Labels {
	return labels.FromStrings("target_host", "this", "target_pid", "70")
}

// Series that were pushed or federated have none of the labels of the process that
// answers, whether or not they are looked at before they are parsed.
func TestSeriesOfOthers(t *testing.T) {
	const exposed = `a{k="1"} 1
a{k="2",job="j"} 2
a{k="3",instance="db7"} 3
a{k="4",job="node",instance="db7"} 4
a{k="5",exported_job="node"} 5
a{k="6",instance=""} 6
a{k="7",target_pid="9",instance="db7"} 7
a{k="8",target_pid="9"} 8
a{k="9",instance="",job="j"} 9
`
	own := map[bool]string{false: "1 6 8", true: "1 2 8"} // the target's, by honor_labels
	relabelling := map[string][]*relabel.Config{
		"preselected": nil,
		"not preselected": {{
			Action: relabel.LabelDrop, Regex: relabel.MustNewRegexp("absent"), Separator: ";", Replacement: "$1", NameValidationScheme: model.UTF8Validation,
		}},
	}
	for _, honor := range []bool{false, true} {
		for how, configs := range relabelling {
			for _, media := range []string{text, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"} {
				t.Run(fmt.Sprint(honor, how, media[:5]), func(t *testing.T) {
					bubble(t, func(t *testing.T, n *network) {
						body := exposed
						if media != text {
							body = string(scrape.Protobuf(t, []byte("# TYPE a gauge\n"+exposed)))
						}
						addr := n.exporter(media, func() string { return body })
						j := jobNamed("j")
						j.HonorLabels, j.MetricRelabelConfigs = honor, configs
						r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted}, `a{target_host="this"}`, `a{target_host=""}`)
						r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
						time.Sleep(time.Second)
						if got := values(r, `a{target_host="this"}`); got != own[honor] {
							t.Errorf("of the target: %s, want %s", got, own[honor])
						}
						if got := len(r.newest(`a{target_host=""}`)); got != 9-len(strings.Fields(own[honor])) {
							t.Errorf("%d of others: %v", got, r.newest(`a`))
						}
						if got := values(r, `a{target_pid="70",target_host=""}`); got != "" {
							t.Errorf("of others, with the target's pid: %s", got)
						}
					})
				})
			}
		}
	}
}

// values are the newest values of the series that a selector takes, sorted.
func values(r *rig, selector string) string {
	var all []string
	for _, v := range r.newest(selector) {
		all = append(all, v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Who knows that pushed series are the target's own drops the labels that say otherwise.
func TestSeriesOfOthersClaimed(t *testing.T) {
	for _, honor := range []bool{false, true} {
		bubble(t, func(t *testing.T, n *network) {
			addr := n.exporter(text, func() string { return `a{instance="db7"} 1` + "\n" })
			j := jobNamed("j")
			j.HonorLabels = honor
			j.MetricRelabelConfigs = []*relabel.Config{{
				Action: relabel.LabelDrop, Regex: relabel.MustNewRegexp("exported_instance|instance"), Separator: ";", Replacement: "$1", NameValidationScheme: model.UTF8Validation,
			}}
			r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted}, `a`)
			r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
			r.eventually(`a`, map[string]string{`{__name__="a", job="j", target_host="this", target_pid="70"}`: "1"})
		})
	}
}

// An empty label cannot be dropped, and is filled.
func TestSeriesOfOthersFilled(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string { return `a{instance="",job="j"} 1` + "\n" })
		j := jobNamed("j")
		j.HonorLabels = true
		j.MetricRelabelConfigs = []*relabel.Config{{
			Action: relabel.Replace, Regex: relabel.MustNewRegexp("(.*)"), TargetLabel: "instance", Replacement: "batch", NameValidationScheme: model.UTF8Validation,
		}}
		r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted}, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		r.eventually(`a`, map[string]string{`{__name__="a", instance="batch", job="j", target_host="this", target_pid="70"}`: "1"})
	})
}

// judge lets a target speak of this host if it names the machine "here" or none, and be
// the process if that started at 1000.
func judge(origin labels.Labels, said scrape.Testimony) (labels.Labels, string) {
	switch {
	case said.Behind:
		return labels.EmptyLabels(), "is behind"
	case len(said.Starts) > 0 && !slices.Contains(said.Starts, 1000):
		return labels.EmptyLabels(), fmt.Sprintf("started at %v", said.Starts)
	case said.Nodename != "" && said.Nodename != "here":
		return origin.MatchLabels(false, "target_host"), "is on " + said.Nodename
	}
	return origin, ""
}

// What a target says of itself at the end of its exposition decides for all series of
// that scrape, none of which is seen with labels that are wrong.
func TestTestimony(t *testing.T) {
	const all, noHost, none = "target_host target_pid", "target_pid", ""
	for _, test := range []struct {
		name, said, want, withheld string
	}{
		{"nothing", "", all, ""},
		{"this host", `node_uname_info{nodename="here"} 1`, all, ""},
		{"another host", `node_uname_info{machine="x86_64",nodename="web1",sysname="Linux"} 1`, noHost, "is on web1"},
		{"pushed by another host", `node_uname_info{instance="web1",nodename="web1"} 1`, all, ""},
		{"federated from another host", `node_uname_info{exported_job="node",nodename="web1"} 1`, all, ""},
		{"several hosts", "node_uname_info{nodename=\"here\"} 1\nnode_uname_info{nodename=\"web1\"} 1", noHost, "is on here, web1"},
		{"the same process", "process_start_time_seconds 1000", all, ""},
		{"another process", "process_start_time_seconds 1020.5", none, "started at [1020.5]"},
		{"another process, with common tags", `process_start_time_seconds{application="shop",region="eu"} 1020.5`, none, "started at [1020.5]"},
		{"the same process, with common tags", `process_start_time_seconds{application="shop",region="eu"} 1000`, all, ""},
		{"processes that it watches", "process_start_time_seconds{name=\"db\"} 1020.5\nprocess_start_time_seconds{name=\"web\"} 1000", all, ""},
		{"none of its workers", "process_start_time_seconds{worker=\"1\"} 1021\nprocess_start_time_seconds{worker=\"0\"} 1020\nprocess_start_time_seconds{worker=\"2\"} 1021", none, "started at [1020 1021]"},
		{"a process that pushed", `process_start_time_seconds{instance="",job="batch"} 1020.5`, all, ""},
		{"a process that was federated", `process_start_time_seconds{exported_instance="db7:9104"} 1020.5`, all, ""},
		{"a label like job", `process_start_time_seconds{jobs="3"} 1020.5`, none, "started at [1020.5]"},
		{"no time", "process_start_time_seconds 0", all, ""},
		{"NaN", "process_start_time_seconds NaN", all, ""},
		{"longer names", "process_start_time_seconds_max 5\nprocess_start_time_seconds_max{a=\"b\"} 5\nnode_uname_information{nodename=\"web1\"} 1", all, ""},
		{"both", "node_uname_info{nodename=\"web1\"} 1\nprocess_start_time_seconds 2e9", none, "started at [2e+09]"},
	} {
		for _, media := range []string{text, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"} {
			t.Run(test.name+" "+media[:5], func(t *testing.T) {
				bubble(t, func(t *testing.T, n *network) {
					body := "a 1\n" + test.said + "\n"
					if media != text {
						body = string(scrape.Protobuf(t, []byte(typed(body))))
					}
					var requests atomic.Int64
					addr := n.exporter(media, func() string { requests.Add(1); return body })
					r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{Origin: accepted, Own: judge}, `a`)
					r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
					time.Sleep(time.Second)
					status := r.Targets()[0]
					if status.Withheld != test.withheld || status.Health != scrape.HealthUp {
						t.Errorf("withheld: %q, want %q (%s)", status.Withheld, test.withheld, status.LastError)
					}
					for series, value := range r.newest(`a`) {
						has := ""
						for _, name := range []string{"target_host", "target_pid"} {
							if strings.Contains(series, name) {
								has = strings.TrimSpace(has + " " + name)
							}
						}
						if has != test.want || value != "1" {
							t.Errorf("%s %s, want %q", series, value, test.want)
						}
					}
					// Once more for the first scrape, if that was wrong.
					before := requests.Load()
					time.Sleep(time.Second)
					if got := requests.Load() - before; got != 10 {
						t.Errorf("%d requests in ten scrapes", got)
					}
				})
			})
		}
	}
}

// typed gives a # TYPE line to each metric of an exposition.
func typed(body string) string {
	var b strings.Builder
	seen := map[string]bool{}
	for line := range strings.Lines(body) {
		name := line[:strings.IndexAny(line+" ", "{ \n")]
		if name == "" {
			continue
		}
		if !seen[name] {
			fmt.Fprintf(&b, "# TYPE %s gauge\n", name)
		}
		seen[name] = true
		b.WriteString(line)
	}
	return b.String()
}

// A tunnel that comes to lead elsewhere: what was of this host goes stale in the scrape
// that says so.
func TestTestimonyChanges(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var remote atomic.Bool
		addr := n.exporter(text, func() string {
			if remote.Load() {
				return "a 2\nnode_uname_info{nodename=\"web1\"} 1\n"
			}
			return "a 1\nnode_uname_info{nodename=\"here\"} 1\n"
		})
		r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{Origin: accepted, Own: judge}, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		common := `{__name__="a", instance="` + addr + `", job="j", `
		r.eventually(`a`, map[string]string{common + `target_host="this", target_pid="70"}`: "1"})
		remote.Store(true)
		r.eventually(`a`, map[string]string{common + `target_host="this", target_pid="70"}`: "stale", common + `target_pid="70"}`: "2"})
		remote.Store(false)
		r.eventually(`a`, map[string]string{common + `target_host="this", target_pid="70"}`: "1", common + `target_pid="70"}`: "stale"})
	})
}

// Answers that come from this host and from another in turn have no labels of a process.
func TestTestimonyUnsteady(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var requests atomic.Int64
		addr := n.exporter(text, func() string {
			if requests.Add(1)%2 == 0 {
				return "a 2\nnode_uname_info{nodename=\"web1\"} 1\n"
			}
			return "a 1\nnode_uname_info{nodename=\"here\"} 1\n"
		})
		r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{Origin: accepted, Own: judge}, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(2 * time.Second)
		for series, value := range r.newest(`a`) {
			if strings.Contains(series, "target_host") && value != "stale" && value != "1" {
				t.Errorf("%s %s", series, value)
			}
		}
		if s := r.Targets()[0]; s.Health != scrape.HealthUp || !strings.Contains(s.Withheld, "in turn") || s.Labels.Has("target_pid") {
			t.Errorf("%+v", s)
		}
	})
}

// What stands behind a proxy is not who accepted the connection.
func TestNoOriginBehindProxy(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		proxy := n.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", text)
			_, _ = io.WriteString(w, "a{host=\""+req.URL.Host+"\"} 1\n")
		}))
		j := jobNamed("j")
		u, err := url.Parse("http://" + proxy)
		if err != nil {
			t.Fatal(err)
		}
		j.HTTPClientConfig.ProxyURL = config.URL{URL: u}
		r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted, Own: judge}, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group("web1:9100")}
		r.eventually(`a`, map[string]string{`{__name__="a", host="web1:9100", instance="web1:9100", job="j"}`: "1"})
	})
}

// Who is asked for less is asked for what says who it is.
func TestNarrowKeepsTestimony(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		bodies := map[string]string{
			"cpu": "x_cpu 1\n", "disk": strings.Repeat("x_disk{i=\"1\"} 1\n", 20), "uname": "node_uname_info{nodename=\"web1\"} 1\n",
		}
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", text)
			collect := req.URL.Query()["collect[]"]
			for _, name := range []string{"cpu", "disk", "uname"} {
				if collect == nil || slices.Contains(collect, name) {
					fmt.Fprintf(w, "%sx_collector_success{collector=%q} 1\n", bodies[name], name)
				}
			}
		}))
		j := jobNamed("j")
		j.Narrow = true
		r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted, Own: judge}, `x_cpu`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(3 * time.Second)
		s := r.Targets()[0]
		if diff := cmp.Diff("collect%5B%5D=cpu&collect%5B%5D=uname", s.Narrowed.Query); diff != "" || s.Withheld != "is on web1" {
			t.Errorf("withheld: %q, query (-want +got):\n%s", s.Withheld, diff)
		}
		if got := values(r, `x_cpu{target_host="this"}`); got != "" {
			t.Errorf("of this host: %s", got)
		}
	})
}

// A proxy is known by what it exposes of itself, whether or not rules take it, and whether
// or not its samples are parsed. Without that another process answers.
func TestTestimonyOfProxy(t *testing.T) {
	const proto = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	knownBy := map[string]func(labels.Labels) ([]string, bool){
		"a proxy": func(labels.Labels) ([]string, bool) {
			return []string{"haproxy_process_", "haproxy_server_status"}, true
		},
		"a proxy that exposes nothing": func(labels.Labels) ([]string, bool) { return nil, true },
		"no proxy":                     func(labels.Labels) ([]string, bool) { return nil, false },
	}
	relabelling := []*relabel.Config{{
		Action: relabel.Replace, TargetLabel: "__name__", SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("b"), Separator: ";", Replacement: "c", NameValidationScheme: model.UTF8Validation,
	}}
	for _, test := range []struct{ who, said, withheld string }{
		{"a proxy", "go_goroutines 7", "is behind"},
		{"a proxy", "haproxy_process_uptime_seconds 7", ""},
		{"a proxy", "haproxy_exporter_scrapes_total 7\nhaproxy_server_up{server=\"s\"} 1", "is behind"},
		{"a proxy", "haproxy_frontend_bytes 7\nhaproxy_server_status{server=\"s\",state=\"UP\"} 1", ""},
		{"a proxy that exposes nothing", "go_goroutines 7", "is behind"},
		{"no proxy", "go_goroutines 7", ""},
	} {
		for _, media := range []string{text, proto} {
			for _, configs := range [][]*relabel.Config{nil, relabelling} {
				t.Run(fmt.Sprint(test.who, " ", test.said, " ", media[:5], len(configs)), func(t *testing.T) {
					bubble(t, func(t *testing.T, n *network) {
						body := "a 1\n" + test.said + "\n"
						if media != text {
							body = string(scrape.Protobuf(t, []byte(typed(body))))
						}
						var requests atomic.Int64
						addr := n.exporter(media, func() string { requests.Add(1); return body })
						j := jobNamed("j")
						j.MetricRelabelConfigs = configs
						r := start(t, n, []*job.Config{j}, scrape.Options{Origin: accepted, Own: judge, KnownBy: knownBy[test.who]}, `a`)
						r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
						time.Sleep(time.Second)
						if s := r.Targets()[0]; s.Withheld != test.withheld || s.Health != scrape.HealthUp || s.Labels.Has("target_pid") != (test.withheld == "") {
							t.Errorf("withheld: %q, want %q (%s)", s.Withheld, test.withheld, s.LastError)
						}
						newest := r.newest(`a`)
						if len(newest) != 1 {
							t.Errorf("%d series: %v", len(newest), newest)
						}
						for series := range newest {
							if strings.Contains(series, "target_pid") != (test.withheld == "") {
								t.Errorf("withheld: %q, but %s", test.withheld, series)
							}
						}
						// Once more for the first scrape, if that was wrong.
						before := requests.Load()
						time.Sleep(time.Second)
						if got := requests.Load() - before; got != 10 {
							t.Errorf("%d requests in ten scrapes", got)
						}
					})
				})
			}
		}
	}
}

// A proxy that is asked for less is asked for what it is known by.
func TestNarrowKeepsWhatProxyIsKnownBy(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		families := map[string]string{"caddy_requests": "caddy_requests 1\n", "go_goroutines": "go_goroutines 7\n", "x": strings.Repeat("x{i=\"1\"} 1\n", 20)}
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", text)
			asked := req.URL.Query()["name[]"]
			for _, name := range []string{"caddy_requests", "go_goroutines", "x"} {
				if asked == nil || slices.Contains(asked, name) {
					_, _ = io.WriteString(w, families[name])
				}
			}
		}))
		j := jobNamed("j")
		j.Narrow = true
		r := start(t, n, []*job.Config{j}, scrape.Options{
			Origin: accepted, Own: judge, KnownBy: func(labels.Labels) ([]string, bool) { return []string{"caddy_"}, true },
		}, `go_goroutines`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(3 * time.Second)
		s := r.Targets()[0]
		if diff := cmp.Diff("name%5B%5D=go_goroutines&name%5B%5D=caddy_requests", s.Narrowed.Query); diff != "" || s.Withheld != "" {
			t.Errorf("withheld: %q, query (-want +got):\n%s", s.Withheld, diff)
		}
		if got := values(r, `go_goroutines{target_pid="70"}`); got == "" {
			t.Error("no series of the proxy")
		}
	})
}
