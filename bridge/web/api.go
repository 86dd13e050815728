package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/format"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping/secret"
)

// everything is a page that has room for all.
const everything = math.MaxInt32

// maxPoints is how many points a series of a range query may have, as in
// Prometheus.
const maxPoints = 11000

// api registers the endpoints under /api/v1/. Answers have the envelope of
// Prometheus's API; query and query_range also its parameters and results, so
// that promtool and Grafana can ask here.
func (p *pages) api(mux *http.ServeMux) {
	get := func(name string, answer func(*http.Request) (any, error)) {
		mux.Handle("GET /api/v1/"+name, p.answerJSON(answer))
	}
	get("status", func(r *http.Request) (any, error) { return p.source.Status(r.Context()), nil })
	get("targets", func(r *http.Request) (any, error) {
		size, offset, err := window(r)
		l := listTargets(p.source.Targets(r.Context()), newFilter(r), everything)
		return part("targets", l, size, offset), err
	})
	get("rules", func(r *http.Request) (any, error) {
		size, offset, err := window(r)
		l := listRules(p.source.Rules(r.Context()), newFilter(r), everything)
		for i, rule := range l.Items {
			if rule.Selectors == nil {
				l.Items[i].Selectors = []view.Selector{}
			}
		}
		return part("rules", l, size, offset), err
	})
	get("nodes", func(r *http.Request) (any, error) {
		size, offset, err := window(r)
		l := listNodes(p.source.Nodes(r.Context()), newFilter(r), everything)
		return part("nodes", l, size, offset), err
	})
	get("collectors", func(r *http.Request) (any, error) {
		return map[string]any{"collectors": notNil(p.source.Collectors(r.Context()))}, nil
	})
	get("configuration", func(r *http.Request) (any, error) { return p.source.Configuration(r.Context()), nil })
	get("scope", func(r *http.Request) (any, error) { return p.source.Scope(r.Context()), nil })
	get("explain", func(r *http.Request) (any, error) {
		subject := r.FormValue("subject")
		if subject == "" {
			return nil, badData(errors.New("the parameter subject is missing"))
		}
		explanation, err := p.source.Explain(r.Context(), subject)
		if err != nil {
			return nil, badData(err)
		}
		return explanation, nil
	})
	for name, parse := range map[string]func(*http.Request, time.Time) (view.Query, error){
		"query": instantQuery, "query_range": rangeQuery,
	} {
		query := p.answerJSON(func(r *http.Request) (any, error) { return p.queryJSON(r, parse) })
		mux.Handle("GET /api/v1/"+name, query)
		// A long expression does not fit into an address; nothing changes by it.
		mux.Handle("POST /api/v1/"+name, http.MaxBytesHandler(query, 64<<10))
	}
	mux.Handle("GET /api/", p.answerJSON(func(r *http.Request) (any, error) {
		return nil, &view.QueryError{Kind: view.ErrorNotFound, Err: fmt.Errorf("%s %s is not known", r.Method, r.URL.Path)}
	}))
}

func badData(err error) error { return &view.QueryError{Kind: view.ErrorBadData, Err: err} }

// notNil makes an empty list of none: JSON has [] then, not null.
func notNil[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// window parses which part of a table is asked for: limit items from offset on;
// 0 for all.
func window(r *http.Request) (limit, offset int, err error) {
	for name, value := range map[string]*int{"limit": &limit, "offset": &offset} {
		text := r.FormValue(name)
		if text == "" {
			continue
		}
		if *value, err = strconv.Atoi(text); err != nil || *value < 0 {
			return 0, 0, badData(fmt.Errorf("parameter %s: %q is no number from 0", name, text))
		}
	}
	return limit, offset, nil
}

// part is the answer for a table.
func part[T any](name string, l list[T], limit, offset int) any {
	items := l.Items
	items = items[min(offset, len(items)):]
	if limit > 0 {
		items = items[:min(limit, len(items))]
	}
	return map[string]any{name: notNil(items), "total": l.Total, "matched": l.Matched}
}

// envelope is Prometheus's form of an answer.
type envelope struct {
	Status    string              `json:"status"`
	Data      any                 `json:"data,omitempty"`
	ErrorType view.QueryErrorKind `json:"errorType,omitempty"`
	Error     string              `json:"error,omitempty"`
	Warnings  []string            `json:"warnings,omitempty"`
	Infos     []string            `json:"infos,omitempty"`
}

// noted is data with the engine's annotations.
type noted struct {
	data            any
	warnings, infos []string
}

func (p *pages) answerJSON(answer func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := http.StatusOK
		body := envelope{Status: "success"}
		data, err := answer(r)
		if err == nil {
			if n, ok := data.(noted); ok {
				data, body.Warnings, body.Infos = n.data, n.warnings, n.infos
			}
			body.Data = data
		} else {
			body, code = failure(err)
		}
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		if err := encoder.Encode(body); err != nil {
			p.logger.Error("encoding an answer failed", "path", r.URL.Path, "err", err)
			buf.Reset()
			body, code = failure(&view.QueryError{Kind: view.ErrorInternal, Err: err})
			_ = encoder.Encode(body) // two strings
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write(secret.UserInfo(buf.Bytes())) // a client that left is no error
	})
}

// failure is the answer and the status code of an error, as Prometheus has them.
func failure(err error) (envelope, int) {
	kind := view.ErrorInternal
	var known *view.QueryError
	if errors.As(err, &known) {
		kind = known.Kind
	}
	code := http.StatusInternalServerError
	switch kind {
	case view.ErrorBadData:
		code = http.StatusBadRequest
	case view.ErrorExecution:
		code = http.StatusUnprocessableEntity
	case view.ErrorTimeout, view.ErrorCanceled:
		code = http.StatusServiceUnavailable
	case view.ErrorNotFound:
		code = http.StatusNotFound
	case view.ErrorInternal:
	}
	return envelope{Status: "error", ErrorType: kind, Error: err.Error()}, code
}

func (p *pages) queryJSON(r *http.Request, parse func(*http.Request, time.Time) (view.Query, error)) (any, error) {
	query, err := parse(r, p.opts.Now())
	if err != nil {
		return nil, badData(err)
	}
	var timeout time.Duration
	if text := r.FormValue("timeout"); text != "" {
		if timeout, err = parseDuration(text); err != nil {
			return nil, badData(fmt.Errorf("parameter timeout: %w", err))
		}
	}
	result, err := p.runQuery(r.Context(), query, timeout)
	if err != nil {
		return nil, err
	}
	return noted{data: resultJSON(result, query), warnings: result.Warnings, infos: result.Infos}, nil
}

func instantQuery(r *http.Request, now time.Time) (view.Query, error) {
	at, err := parseTime(r.FormValue("time"), now)
	if err != nil {
		return view.Query{}, fmt.Errorf("parameter time: %w", err)
	}
	return checked(view.Query{Expr: r.FormValue("query"), End: at})
}

func rangeQuery(r *http.Request, now time.Time) (view.Query, error) {
	q := view.Query{Expr: r.FormValue("query")}
	var err error
	if q.Start, err = parseTime(r.FormValue("start"), time.Time{}); err != nil || q.Start.IsZero() {
		return view.Query{}, parameterError("start", err)
	}
	if q.End, err = parseTime(r.FormValue("end"), now); err != nil {
		return view.Query{}, parameterError("end", err)
	}
	if q.Step, err = parseDuration(r.FormValue("step")); err != nil {
		return view.Query{}, parameterError("step", err)
	}
	switch {
	case q.Step <= 0:
		return view.Query{}, errors.New("parameter step: must be more than 0")
	case q.End.Before(q.Start):
		return view.Query{}, errors.New("parameter end: is before start")
	case q.End.Sub(q.Start)/q.Step > maxPoints:
		return view.Query{}, fmt.Errorf("more than %d points a series: a longer step or a shorter range is needed", maxPoints)
	}
	return checked(q)
}

func parameterError(name string, err error) error {
	if err == nil {
		return fmt.Errorf("the parameter %s is missing", name)
	}
	return fmt.Errorf("parameter %s: %w", name, err)
}

func checked(q view.Query) (view.Query, error) {
	if q.Expr == "" {
		return view.Query{}, errors.New("the parameter query is missing")
	}
	return q, nil
}

// parseTime parses seconds since the epoch or RFC 3339.
func parseTime(text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	// Beyond these a time in nanoseconds does not fit into an int64.
	const earliest, latest = -9e9, 9e9
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds >= earliest && seconds <= latest) { // NaN too
			return time.Time{}, fmt.Errorf("%q is out of range", text)
		}
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(math.Round(part*1e3))*1e6).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a unix time nor RFC 3339", text)
	}
	return at, nil
}

// parseDuration parses seconds or a duration as in PromQL.
func parseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(math.Abs(seconds) <= 9e9) {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration", text)
	}
	return time.Duration(d), nil
}

// resultJSON is the result in the form of Prometheus's API.
func resultJSON(result view.Result, q view.Query) any {
	type element struct {
		Metric     view.Labels `json:"metric"`
		Value      any         `json:"value,omitempty"`
		Values     []any       `json:"values,omitempty"`
		Histogram  any         `json:"histogram,omitempty"`
		Histograms []any       `json:"histograms,omitempty"`
	}
	answer := func(result any, kind view.ValueType) any {
		return map[string]any{"resultType": kind, "result": result}
	}
	switch result.Type {
	case view.TypeString:
		return answer([]any{unixSeconds(q.End), result.String}, view.TypeString)
	case view.TypeScalar:
		var value any = []any{}
		if len(result.Series) == 1 && len(result.Series[0].Points) == 1 {
			value = pointJSON(result.Series[0].Points[0])
		}
		return answer(value, view.TypeScalar)
	case view.TypeVector, view.TypeMatrix:
	}
	elements := make([]element, 0, len(result.Series))
	for _, s := range result.Series {
		e := element{Metric: s.Labels}
		if e.Metric == nil {
			e.Metric = view.Labels{}
		}
		for _, p := range s.Points {
			value := pointJSON(p)
			switch {
			case result.Type == view.TypeVector && p.Histogram != nil:
				e.Histogram = value
			case result.Type == view.TypeVector:
				e.Value = value
			case p.Histogram != nil:
				e.Histograms = append(e.Histograms, value)
			default:
				e.Values = append(e.Values, value)
			}
		}
		elements = append(elements, e)
	}
	return answer(elements, result.Type)
}

// unixSeconds is a time as Prometheus writes it.
func unixSeconds(t time.Time) json.Number {
	return json.Number(strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64))
}

func pointJSON(p view.Point) any {
	if p.Histogram == nil {
		return []any{unixSeconds(p.Time), format.Float(p.Value)}
	}
	buckets := make([]any, 0, len(p.Histogram.Buckets))
	for _, b := range p.Histogram.Buckets {
		buckets = append(buckets, []any{b.Boundaries, format.Float(b.Lower), format.Float(b.Upper), format.Float(b.Count)})
	}
	histogram := map[string]any{"count": format.Float(p.Histogram.Count), "sum": format.Float(p.Histogram.Sum)}
	if len(buckets) > 0 {
		histogram["buckets"] = buckets
	}
	return []any{unixSeconds(p.Time), histogram}
}
