package scrape

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// pipelineSelectors take parts of metrics, by all kinds of matchers.
var pipelineSelectors = []string{
	`sel{a="b"}`, `sel{a=""}`, `sel{a=~"x.*",b!="c"}`, `sez{job="j"}`, `sel{job="other"}`, `sel{exported_job="x"}`,
	`sem{job="other"}`, `sem{b="x\\y"}`, `sem{b="c"}`, `sel{le="1.0"}`, `sel{quantile=~"0.5|1"}`, `sel{pid="7"}`, `{__name__=~"sew.*",zone="z"}`, `{__name__=~"go_.*",version!=""}`,
	`node_cpu_seconds_total{mode="iowait"}`, `node_network_info{device!~"lo|ifb.*",operstate="up"}`,
	`prometheus_http_request_duration_seconds_bucket{handler="/metrics"}`, `prometheus_http_requests_total{code=~"5.."}`,
	`prometheus_engine_query_duration_seconds{quantile="0.9",job="j"}`, `node_filesystem_avail_bytes{mountpoint="/",fstype!="tmpfs"}`,
}

// pipeline scrapes an exposition twice, the second time with a cache that
// knows it, and returns all that is then in the store. With parseAll, the
// parser sees all of it.
func pipeline(t testing.TB, b []byte, media string, config *job.Config, parseAll bool) (got []string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	var list []store.Selector
	for i, s := range pipelineSelectors {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, store.Selector{Rule: i, Matchers: ms, Window: time.Minute})
	}
	sel := store.NewSelection(list)
	st := store.New(sel, store.Options{}, nil)
	app := newAppender(&job.Target{Job: config, Public: labels.FromStrings("job", "j", "instance", "i", "zone", "z")}, &shared{
		store: st, sel: sel, pidLabels: []string{"pid"},
		pids: func(_ context.Context, _ labels.Labels, lb *labels.Builder, _ knownPIDs) translation {
			if lb.Get("pid") == "1" {
				lb.Set("pid", "7")
			}
			return translation{}
		},
	})
	for i := range int64(2) {
		at := time.UnixMilli(1000 * (i + 1))
		app.begin(at)
		var r exposition.Reader
		if parseAll {
			r.Reset(nil, media, exposition.Options{}) // wants all
			err = parseWhole(t.Context(), app, &r, b, media)
		} else {
			r.Reset(bytes.NewReader(b), media, exposition.Options{Parser: config.ParserOptions(), WantName: sel.Name, Labels: app.labels, Take: app.take})
			err = app.exposition(t.Context(), &r)
		}
		if err != nil {
			return nil, err
		}
		app.cache.succeed(app.stale)
		app.batch.Commit(at, time.Second)
		if !newlineInQuotes(b, media) {
			got = append(got, fmt.Sprint(app.counts.exposed, app.counts.relabelled, app.counts.kept))
		}
	}
	return append(got, storeDump(t, st)...), nil
}

// parseWhole appends an exposition that no filter has seen.
func parseWhole(ctx context.Context, app *appender, r *exposition.Reader, b []byte, mediaType string) error {
	if len(b) == 0 {
		return nil // which the parser of OpenMetrics refuses
	}
	p, err := textparse.New(b, mediaType, nil, app.job.ParserOptions())
	if err != nil {
		return err
	}
	return cmp.Or(app.piece(ctx, r, p), app.failure)
}

func storeDump(t testing.TB, st *store.Store) (got []string) {
	q, _ := st.Querier(math.MinInt64, math.MaxInt64)
	defer q.Close()
	set := q.Select(t.Context(), true, nil)
	for set.Next() {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind == chunkenc.ValFloatHistogram {
				_, h := it.AtFloatHistogram(nil)
				got = append(got, fmt.Sprintf("%s %s @%d", set.At().Labels(), h, it.AtT()))
			} else {
				_, v := it.At()
				got = append(got, fmt.Sprintf("%s %x @%d", set.At().Labels(), math.Float64bits(v), it.AtT()))
			}
		}
	}
	return got
}

func checkPipeline(t *testing.T, b []byte, media string, honor bool) {
	t.Helper()
	job := job.DefaultConfig(job.DefaultGlobal())
	job.HonorLabels, job.ScrapeNativeHistograms = honor, true
	want, wantErr := pipeline(t, b, media, &job, true)
	got, err := pipeline(t, b, media, &job, false)
	if wantErr != nil {
		return // which lines may be malformed is for the filters' tests
	}
	if err != nil {
		t.Fatalf("refused what the parser accepts: %v\n%q", err, b)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("samples (-parser +filter):\n%s\n%q", diff, b)
	}
}

var labelTraps = []string{
	"sel{a=\"b\"} 1\nsel{a=\"c\"} 2\nsel 3\nsel{} 4\nsel{a=\"b\",} 5\nsel{a=\"\"} 6\n",
	"sel{ a=\"b\"} 1\nsel{a =\"b\"} 2\nsel{a=\"c\" ,a=\"b\"} 3\nsel {a=\"b\"} 4\nsel\t5\nsel  {a=\"b\"} 6\n",
	"sel{a=\"c\",a=\"b\"} 1\nsel{a=\"b\",a=\"c\"} 1\n",
	"sel{\"a\"=\"b\"} 1\nsel{a=\"\\x62\"} 2\nsel{a=\"x\\\"y\"} 3\nsel{a=\"x\ny\"} 4\n",
	"sel{job=\"x\",a=\"q\"} 1\nsel{job=\"other\",a=\"q\"} 2\nsel{job=\"\",a=\"q\"} 3\nsel{exported_job=\"x\",job=\"y\",a=\"q\"} 4\n",
	"# TYPE sel histogram\nsel{le=\"1\",a=\"q\"} 1\nsel{le=\"+Inf\",a=\"q\"} 1\n# TYPE sel summary\nsel{quantile=\"1\",a=\"q\"} 1\nsel{quantile=\"0.50\",a=\"q\"} 1\n",
	"sel{pid=\"1\",a=\"q\"} 1\nsel{pid=\"2\",a=\"q\"} 1\n",
	"sel{a=\"z\",a=\"b\"} 1\nsel{job=\"q\",a=\"z\"} 2\nsel{exported_job=\"q\",job=\"x\",a=\"z\"} 3\nsel {a=\"z\"} 4\nsel   5\n",
	"sem{job=\"other\"} 1\n", "sem{b=\"x\\\\y\"} 1\nsem{b=\"x\\\\\\\\y\"} 2\n",
	"sem {b=\"c\"} 1\n", "sem  {b=\"c\"} 1\n", "sem \t{b=\"c\"} 1\n", "sem\t{b=\"c\"} 1\n",
	"sez 1\nsez{job=\"q\"} 2\nsez{job=\"\"} 3\nsew 1\nsew{zone=\"q\"} 2\nsell 3\n",
	"sel{a=\"q\",1b=\"c\"} 1\n", "sel{a=\"q\"b=\"c\"} 1\n", "sel{a=\"q\"\n", "sel{a\n", "sel{a=\n", "sel{a=\"\n",
}

func TestPipelineAgrees(t *testing.T) {
	for _, honor := range []bool{false, true} {
		for _, trap := range traps(t) {
			checkPipeline(t, []byte(trap), exposition.MediaText, honor)
			checkPipeline(t, []byte(trap+"# EOF\n"), exposition.MediaOpenMetrics, honor)
		}
		for _, name := range []string{"node_exporter.txt", "prometheus.txt"} {
			checkPipeline(t, recorded(t, name), exposition.MediaText, honor)
			checkPipeline(t, protobuf(t, recorded(t, name)), exposition.MediaProto, honor)
		}
		checkPipeline(t, recorded(t, "node_exporter.om"), exposition.MediaOpenMetrics, honor)
		checkPipeline(t, recorded(t, "prometheus.pb"), exposition.MediaProto, honor)
	}
	// It proves nothing if nothing is selected.
	job := job.DefaultConfig(job.DefaultGlobal())
	got, err := pipeline(t, recorded(t, "node_exporter.txt"), exposition.MediaText, &job, false)
	if err != nil || len(got) < 10 {
		t.Errorf("selected of node_exporter: %v %v", got, err)
	}
}

// TestPipelineRefuses has bad lines that a rule selects.
func TestPipelineRefuses(t *testing.T) {
	job := job.DefaultConfig(job.DefaultGlobal())
	job.LabelLimit, job.LabelNameLengthLimit, job.LabelValueLengthLimit = 6, 10, 20
	for body, want := range map[string]string{
		"sem{b=\"c\",b=\"d\"} 1\n":                      `label b is there twice in {__name__="sem", b="c", b="d", instance="i", job="j", zone="z"}`,
		"sem{b=\"c\",q=\"\xff\"} 1\n":                   `invalid UTF-8 label value: "\"\xff\""`,
		"sem{b=\"c\",q=\"1\",r=\"2\"} 1\n":              `label_limit of 6 exceeded: sem has 7 labels`,
		"sem{b=\"c\",longlonglong=\"1\"} 1\n":           `label_name_length_limit of 10 exceeded: a label of sem has a name of 12 bytes, longlonglong`,
		"sem{b=\"c\",q=\"0123456789012345678901\"} 1\n": `label_value_length_limit of 20 exceeded: the value of label q of sem has 22 bytes, "0123456789012345678901"`,
	} {
		for _, parseAll := range []bool{false, true} {
			if _, err := pipeline(t, []byte(body), exposition.MediaText, &job, parseAll); err == nil || err.Error() != want {
				t.Errorf("%q: %v", body, err)
			}
		}
	}
}

func FuzzPipeline(f *testing.F) {
	formats := []string{exposition.MediaText, exposition.MediaOpenMetrics, exposition.MediaProto}
	for _, trap := range traps(f) {
		f.Add([]byte(trap), byte(0), false)
		f.Add([]byte(trap+"# EOF\n"), byte(1), false)
	}
	f.Add(recorded(f, "node_exporter.txt")[:4000], byte(0), true)
	f.Add(recorded(f, "prometheus.pb")[:6000], byte(2), true)
	f.Fuzz(func(t *testing.T, b []byte, format byte, honor bool) {
		checkPipeline(t, b, formats[int(format)%len(formats)], honor)
	})
}
