package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/view"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}

func TestAPI(t *testing.T) {
	f := example(moment)
	f.targets, f.rules, f.nodes = f.targets[5:8], f.rules[7:9], f.nodes[1:2]
	f.nodes[0].Metrics[0].Samples = f.nodes[0].Metrics[0].Samples[12:]
	f.nodes[0].Metrics = f.nodes[0].Metrics[:1]
	pages := newPages(t, f, PageOptions{})
	for _, name := range []string{"status", "targets", "rules", "nodes", "collectors", "configuration", "scope"} {
		response := ask(t, pages, http.MethodGet, "/api/v1/"+name)
		if got := response.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", name, got)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, response.Body.Bytes(), "", "  "); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden(t, name+".json", pretty.Bytes())
	}
}

func TestAPIParts(t *testing.T) {
	pages := newPages(t, crowd(moment, 200, 500, 5000), PageOptions{})
	type answer struct {
		Data struct {
			Targets        []view.Target
			Rules          []view.Rule
			Nodes          []view.Node
			Total, Matched int
		}
	}
	for address, want := range map[string][3]int{ // items, total, matched
		"targets":                         {200, 200, 200},
		"targets?show=down&limit=3":       {3, 200, 33},
		"targets?show=up&offset=146":      {5, 200, 151},
		"rules?q=payments":                {28, 500, 28},
		"nodes":                           {5000, 5000, 5000},
		"nodes?limit=10&offset=4995":      {5, 5000, 5000},
		"nodes?limit=10&offset=99999":     {0, 5000, 5000},
		"nodes?q=no+such+node+whatsoever": {0, 5000, 0},
	} {
		code, body := get(t, pages, "/api/v1/"+address)
		var a answer
		if err := json.Unmarshal([]byte(body), &a); err != nil || code != http.StatusOK {
			t.Fatalf("%s: status %d, %v", address, code, err)
		}
		got := [3]int{len(a.Data.Targets) + len(a.Data.Rules) + len(a.Data.Nodes), a.Data.Total, a.Data.Matched}
		if got != want {
			t.Errorf("%s: items, total, matched are %v, want %v", address, got, want)
		}
		if strings.Contains(body, "null") {
			t.Errorf("%s: null in %.200s", address, body)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	f := example(moment)
	pages := newPages(t, f, PageOptions{})
	for _, test := range []struct {
		address, kind string
		code          int
		text          string
	}{
		{"nowhere", "not_found", 404, "GET /api/v1/nowhere is not known"},
		{"query", "bad_data", 400, "the parameter query is missing"},
		{"query?query=sum((", "bad_data", 400, "1:5: parse error: unexpected end of input in aggregation"},
		{"query?query=boom", "execution", 422, "the engine failed"},
		{"query?query=x&time=yesterday", "bad_data", 400, `parameter time: "yesterday" is neither a unix time nor RFC 3339`},
		{"query?query=x&time=NaN", "bad_data", 400, `parameter time: "NaN" is out of range`},
		{"query?query=x&time=1e300", "bad_data", 400, `parameter time: "1e300" is out of range`},
		{"query?query=x&timeout=soon", "bad_data", 400, `parameter timeout: "soon" is no duration`},
		{"query_range?query=x&end=1&step=1", "bad_data", 400, "the parameter start is missing"},
		{"query_range?query=x&start=1&end=0&step=1", "bad_data", 400, "parameter end: is before start"},
		{"query_range?query=x&start=1&end=2&step=0", "bad_data", 400, "parameter step: must be more than 0"},
		{"query_range?query=x&start=1&end=2", "bad_data", 400, `parameter step: "" is no duration`},
		{"query_range?query=x&start=0.1&end=20000&step=1s", "bad_data", 400, "more than 11000 points a series: a longer step or a shorter range is needed"},
		{"query_range?query=x&start=1&end=2&step=1e-30", "bad_data", 400, "parameter step: must be more than 0"},
		{"explain", "bad_data", 400, "the parameter subject is missing"},
		{"explain?subject=%7B%7B", "bad_data", 400, "1:2: parse error: unexpected character inside braces: '{'"},
		{"nodes?limit=-1", "bad_data", 400, `parameter limit: "-1" is no number from 0`},
		{"nodes?offset=x", "bad_data", 400, `parameter offset: "x" is no number from 0`},
	} {
		code, body := get(t, pages, "/api/v1/"+test.address)
		var got struct{ Status, ErrorType, Error string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v in %s", test.address, err, body)
		}
		if code != test.code || got.Status != "error" || got.ErrorType != test.kind || got.Error != test.text {
			t.Errorf("%s: status %d, %+v; want %d %s %q", test.address, code, got, test.code, test.kind, test.text)
		}
	}
}

// Results are what Prometheus's API would answer, byte for byte.
func TestQueryResults(t *testing.T) {
	at := time.UnixMilli(1795356207250).UTC()
	histogram := &view.Histogram{Count: 3, Sum: 4.5, Buckets: []view.Bucket{{Boundaries: 0, Lower: 1, Upper: 2, Count: 3}}}
	for name, test := range map[string]struct {
		address string
		result  view.Result
		want    string
	}{
		"vector": {
			"query?query=x", view.Result{Type: view.TypeVector, Series: []view.Series{
				{Labels: view.Labels{"b": "2", "__name__": "a"}, Points: []view.Point{{Time: at, Value: 0.1}}},
				{Points: []view.Point{{Time: at, Value: math.NaN()}}},
				{Points: []view.Point{{Time: at, Value: math.Inf(-1)}}},
				{Points: []view.Point{{Time: at, Histogram: histogram}}},
			}},
			`{"status":"success","data":{"result":[{"metric":{"__name__":"a","b":"2"},"value":[1795356207.25,"0.1"]},{"metric":{},"value":[1795356207.25,"NaN"]},{"metric":{},"value":[1795356207.25,"-Inf"]},{"metric":{},"histogram":[1795356207.25,{"buckets":[[0,"1","2","3"]],"count":"3","sum":"4.5"}]}],"resultType":"vector"}}`,
		},
		"empty vector": {"query?query=x", view.Result{Type: view.TypeVector}, `{"status":"success","data":{"result":[],"resultType":"vector"}}`},
		"matrix": {
			"query_range?query=x&start=1795356207.25&end=2026-11-22T14:03:37.25Z&step=5s",
			view.Result{Type: view.TypeMatrix, Warnings: []string{"w"}, Infos: []string{"i"}, Series: []view.Series{{Labels: view.Labels{"a": "b"}, Points: []view.Point{{Time: at, Value: 1e9}, {Time: at.Add(5 * time.Second), Histogram: &view.Histogram{Count: 1}}}}}},
			`{"status":"success","data":{"result":[{"metric":{"a":"b"},"values":[[1795356207.25,"1000000000"]],"histograms":[[1795356212.25,{"count":"1","sum":"0"}]]}],"resultType":"matrix"},"warnings":["w"],"infos":["i"]}`,
		},
		"scalar": {"query?query=x", view.Result{Type: view.TypeScalar, Series: []view.Series{{Points: []view.Point{{Time: at, Value: 2}}}}}, `{"status":"success","data":{"result":[1795356207.25,"2"],"resultType":"scalar"}}`},
		"string": {"query?query=x&time=1795356207.25", view.Result{Type: view.TypeString, String: "é"}, `{"status":"success","data":{"result":[1795356207.25,"é"],"resultType":"string"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := example(moment)
			var asked view.Query
			f.query = func(q view.Query) (view.Result, error) { asked = q; return test.result, nil }
			pages := newPages(t, f, PageOptions{})
			path, query, _ := strings.Cut(test.address, "?")
			post := httptest.NewRequest(http.MethodPost, "/api/v1/"+path, strings.NewReader(query))
			post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, request := range []*http.Request{httptest.NewRequest(http.MethodGet, "/api/v1/"+test.address, nil), post} {
				w := httptest.NewRecorder()
				pages.ServeHTTP(w, request)
				if diff := cmp.Diff(test.want+"\n", w.Body.String()); w.Code != http.StatusOK || diff != "" {
					t.Errorf("%s: status %d, -want +got:\n%s", request.Method, w.Code, diff)
				}
				if asked.Expr != "x" || name == "matrix" && (asked.Step != 5*time.Second || !asked.Start.Equal(at) || !asked.End.Equal(at.Add(10*time.Second))) {
					t.Errorf("%s: asked for %+v", request.Method, asked)
				}
			}
		})
	}
}

// blocked is a Source whose queries run until their context is done.
type blocked struct {
	*fake
	running, most *atomic.Int32
}

func newBlocked() blocked { return blocked{example(moment), &atomic.Int32{}, &atomic.Int32{}} }

func (b blocked) Query(ctx context.Context, _ view.Query) (view.Result, error) {
	running := b.running.Add(1)
	defer b.running.Add(-1)
	for most := b.most.Load(); running > most && !b.most.CompareAndSwap(most, running); most = b.most.Load() {
	}
	<-ctx.Done()
	return view.Result{}, ctx.Err()
}

func TestQueriesAreBounded(t *testing.T) {
	source := newBlocked()
	pages := newPages(t, source, PageOptions{QueryTimeout: 200 * time.Millisecond})
	codes := make(chan string, 9)
	for range cap(codes) {
		go func() {
			w := httptest.NewRecorder()
			pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/query?query=x&timeout=1h", nil))
			codes <- http.StatusText(w.Code) + " " + w.Body.String()
		}()
	}
	for range cap(codes) {
		select {
		case got := <-codes:
			if !strings.HasPrefix(got, "Service Unavailable") || !strings.Contains(got, `"errorType":"timeout"`) {
				t.Errorf("a query that takes too long: %s", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a query is not bounded")
		}
	}
	if most := source.most.Load(); most != 4 {
		t.Errorf("%d queries ran at a time, want 4", most)
	}
	started := time.Now()
	if code, body := get(t, pages, "/series?expr=x"); code != http.StatusBadRequest || !strings.Contains(body, "deadline exceeded") || time.Since(started) > 3*time.Second {
		t.Errorf("the page of a query that takes too long: status %d after %v", code, time.Since(started))
	}
}

func TestQueryCanceled(t *testing.T) {
	pages := newPages(t, newBlocked(), PageOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/query?query=x", nil))
	if !strings.Contains(w.Body.String(), `"errorType":"canceled"`) {
		t.Errorf("a client that left: %s", w.Body)
	}
}

func TestExplainJSON(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	_, body := get(t, pages, "/api/v1/explain?subject="+url.QueryEscape("go_goroutines"))
	var got struct{ Data view.Explanation }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	results := got.Data.Rules[0].Results
	if len(results) != 7 || !math.IsNaN(float64(results[6].Value)) || results[0].Value != 1.5 {
		t.Errorf("results %+v", results)
	}
	if got.Data.Rules[0].Name != "process/go_goroutines" || got.Data.Rules[0].Targets[0].Job != "node" {
		t.Errorf("rule %+v", got.Data.Rules[0])
	}
}

func TestQueryErrorUnwraps(t *testing.T) {
	cause := errors.New("cause")
	if err := error(&view.QueryError{Kind: view.ErrorBadData, Err: cause}); !errors.Is(err, cause) || err.Error() != "cause" {
		t.Errorf("got %v", err)
	}
}
