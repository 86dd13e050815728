package web

import (
	"bytes"
	"context"
	"embed"
	"encoding/hex"
	"hash/fnv"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/format"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping/secret"
)

//go:embed ui
var ui embed.FS

// The sizes of pages of tables.
const (
	targetsPerPage = 100
	rulesPerPage   = 100
	nodesPerPage   = 50
)

// policy lets a page load its own style and script, and nothing else: no inline
// script, no style attribute, no other host. Label values are anybody's text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// PageOptions is how the pages behave.
type PageOptions struct {
	// Refresh is how often an open page asks for its content anew; 5 s by
	// default, negative for never.
	Refresh time.Duration
	// QueryTimeout bounds a query; 10 s by default.
	QueryTimeout time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// pages serves the status pages and the API.
type pages struct {
	source  Source
	opts    PageOptions
	logger  *slog.Logger
	assets  map[string]string // file name → with version
	queries chan struct{}     // a place for each query that may run
}

// NewPages returns the handler of the status pages and of the API under
// /api/v1/. Links are relative, so that it can stand behind a proxy that
// strips a prefix.
func NewPages(source Source, opts PageOptions, logger *slog.Logger) (http.Handler, error) {
	if opts.Refresh == 0 {
		opts.Refresh = 5 * time.Second
	}
	if opts.QueryTimeout <= 0 {
		opts.QueryTimeout = 10 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &pages{
		source:  source,
		opts:    opts,
		logger:  logger,
		assets:  map[string]string{},
		queries: make(chan struct{}, 4),
	}
	mux := http.NewServeMux()
	for name, contentType := range map[string]string{
		"style.css": "text/css; charset=utf-8",
		"app.js":    "text/javascript; charset=utf-8",
		"icon.svg":  "image/svg+xml",
	} {
		content, err := fs.ReadFile(ui, "ui/"+name)
		if err != nil {
			return nil, err
		}
		p.assets[name] = name + "?v=" + fingerprint(string(content))
		mux.Handle("GET /"+name, asset(content, contentType))
	}
	for pattern, page := range map[string]struct {
		name string
		body func(*http.Request, *frame) error
	}{
		"/{$}":           {"overview", p.overview},
		"/targets":       {"targets", p.targets},
		"/series":        {"series", p.series},
		"/rules":         {"rules", p.rules},
		"/nodes":         {"nodes", p.nodes},
		"/collectors":    {"collectors", p.collectors},
		"/scope":         {"scope", p.scope},
		"/configuration": {"configuration", p.configuration},
		"/explain":       {"explain", p.explain},
		"/":              {"missing", p.missing},
	} {
		mux.Handle("GET "+pattern, p.page(page.name, page.body))
	}
	p.api(mux)
	return secured(mux), nil
}

// fingerprint is a short name for a text.
func fingerprint(text string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // a hash's Write never fails
	return hex.EncodeToString(h.Sum(nil))
}

// asset serves a file that never changes under its versioned address.
func asset(content []byte, contentType string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(content) // a browser that left is no error
	})
}

// secured sets the headers that hold for everything.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// frame is what every page is made of.
type frame struct {
	Page    string // the template's name
	Title   string
	Now     time.Time
	Refresh float64 // seconds; 0 for never
	Status  view.Status
	Host    string
	Nav     []navItem
	Issues  []issue
	// Subject is what the explain box holds.
	Subject string
	API     string // the page's address in the API; empty if it has none
	Code    int
	Body    any

	targets    []view.Target
	rules      []view.Rule
	collectors []view.Collector
	scope      view.Scope
}

// navItem is an entry of the navigation, in the order in which the data flows.
type navItem struct {
	Link, Text string
	Count      string
	Bad        int // how many things are wrong
	Doubtful   int // how many may be
	On         bool
}

// page renders a page: everything into memory first, so that an error is an
// error and not half a page. Its template is parsed when the page is first asked for:
// all of them take a megabyte, and mostly nobody looks.
func (p *pages) page(name string, body func(*http.Request, *frame) error) http.Handler {
	parsed := sync.OnceValue(func() *template.Template {
		t := template.New("layout.html").Funcs(p.functions())
		return template.Must(t.ParseFS(ui, "ui/layout.html", "ui/parts.html", "ui/"+name+".html"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := p.newFrame(r.Context(), name)
		if err := body(r, v); err != nil {
			p.logger.Debug("page failed", "page", name, "err", err)
			http.Error(w, "This page failed: "+err.Error(), http.StatusInternalServerError)
			return
		}
		var buf bytes.Buffer
		if err := parsed().Execute(&buf, v); err != nil {
			p.logger.Error("page failed", "page", name, "err", err)
			http.Error(w, "This page failed; the log says why.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(v.Code)
		_, _ = w.Write(secret.UserInfo(buf.Bytes())) // a browser that left is no error
	})
}

// newFrame gathers what the frame of every page shows.
func (p *pages) newFrame(ctx context.Context, name string) *frame {
	v := &frame{
		Page:       name,
		Now:        p.opts.Now(),
		Refresh:    max(0, p.opts.Refresh.Seconds()),
		Code:       http.StatusOK,
		Status:     p.source.Status(ctx),
		targets:    p.source.Targets(ctx),
		rules:      p.source.Rules(ctx),
		collectors: p.source.Collectors(ctx),
		scope:      p.source.Scope(ctx),
	}
	v.Host = v.scope.Host
	v.Issues = findIssues(v, p.source.Configuration(ctx))
	bad, doubtful := map[string]int{}, map[string]int{}
	for _, i := range v.Issues {
		if i.Bad {
			bad[i.Link] += i.Count
		} else {
			doubtful[i.Link] += i.Count
		}
	}
	live := 0
	for _, t := range v.targets {
		if t.Health != view.HealthDropped {
			live++
		}
	}
	v.Nav = []navItem{
		{Link: "./", Text: "Overview"},
		{Link: "targets", Text: "Targets", Count: format.Count(live)},
		{Link: "series", Text: "Series", Count: format.Count(v.Status.Series)},
		{Link: "rules", Text: "Rules", Count: format.Count(len(v.rules))},
		{Link: "nodes", Text: "Nodes", Count: format.Count(v.scope.Report.Nodes)},
		{Link: "scope", Text: "Scope"},
		{Link: "collectors", Text: "Collectors", Count: format.Count(len(v.collectors))},
		{Link: "configuration", Text: "Configuration"},
	}
	for i := range v.Nav {
		item := &v.Nav[i]
		item.Bad, item.Doubtful = bad[item.Link], doubtful[item.Link]
		item.On = item.Link == name || item.Link == "./" && name == "overview"
	}
	return v
}

func (p *pages) missing(_ *http.Request, v *frame) error {
	v.Title, v.Code, v.Refresh = "No such page", http.StatusNotFound, 0
	return nil
}

// functions are what the templates call.
func (p *pages) functions() template.FuncMap {
	return template.FuncMap{
		"asset":   func(name string) string { return p.assets[name] },
		"count":   format.Count[int],
		"polls":   format.Count[uint64],
		"bytes":   func(n int64) string { return format.Bytes(float64(n)) },
		"seconds": format.Seconds,
		"number":  func(v view.Float) string { return format.Number(float64(v)) },
		"metric":  format.Metric,
		"spark":   newSpark,
		"ago":     format.Ago,
		"plural":  format.Plural,
		"when":    func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"clock":   func(t time.Time) string { return t.Format("15:04:05.000") },
		"id":      func(text string) string { return "x" + fingerprint(text) },
		"float":   func(v float64) view.Float { return view.Float(v) },
		"uptime":  func(now, since time.Time) float64 { return max(0, now.Sub(since).Seconds()) },
	}
}
