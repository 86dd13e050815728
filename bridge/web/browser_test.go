package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium with what went wrong in it.
type browser struct {
	context.Context
	mu       sync.Mutex
	trouble  []string
	requests []string
}

// findChromium returns a Chromium, or skips the test with the reason. With
// PROMSCOPE_REQUIRE_BROWSER=1 there has to be one.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("PROMSCOPE_REQUIRE_BROWSER") == "1" {
		t.Fatal("no chromium in $PATH, and PROMSCOPE_REQUIRE_BROWSER=1 wants one")
	}
	t.Skip("no chromium in $PATH")
	return ""
}

// openBrowser starts a Chromium for the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(findChromium(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "no-default-browser-check", "hide-scrollbars"} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	call(t, b, network.Enable, network.EnableParams{})
	call(t, b, log.Enable, cdp.Empty{})
	return b
}

// note keeps everything that a developer would see in red.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	trouble := func(format string, args ...any) { b.trouble = append(b.trouble, fmt.Sprintf(format, args...)) }
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		trouble("exception: %+v", event.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		trouble("console.%s", event.Type)
	case *log.EventEntryAdded:
		trouble("%s: %s (%s)", event.Entry.Level, event.Entry.Text, event.Entry.URL)
	case *page.EventJavascriptDialogOpening:
		trouble("dialog: %s", event.Message)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, event.Request.URL)
	}
}

// call runs a command of the DevTools protocol.
func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(b.Context, command, params); err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
}

// screen makes the browser's screen this large, and prefer light or dark.
func (b *browser) screen(t *testing.T, width, height int64, scale float64, scheme string) {
	t.Helper()
	call(t, b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 500})
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// run runs actions.
func (b *browser) run(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.Context, actions...); err != nil {
		t.Fatal(err)
	}
}

// eval evaluates an expression in the page.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	result, err := chromedp.Run(b.Context, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return result
}

// wait waits until an expression is true in the page.
func (b *browser) wait(t *testing.T, expression string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !eval[bool](t, b, expression) {
		if time.Now().After(deadline) {
			t.Fatalf("the page does not come to %s; it says:\n%s", expression, eval[string](t, b, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// footer is what tells one state of a page from the next: it has the time.
const footer = `document.getElementById("footer").innerText`

// refreshed is true in the page when its footer is another one.
func refreshed(before string) string { return fmt.Sprintf("%s !== %q", footer, before) }

// expectNoTrouble fails the test for everything that went wrong since the last
// time, and for every request that left the server.
func (b *browser) expectNoTrouble(t *testing.T, server string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, trouble := range b.trouble {
		t.Errorf("in the browser: %s", trouble)
	}
	for _, request := range b.requests {
		if !strings.HasPrefix(request, server) {
			t.Errorf("the browser asked for %s", request)
		}
	}
	b.trouble, b.requests = nil, nil
}

// growing is the example with a store that grows each time it is looked at, so
// that every refresh has something to change in every part of a page.
type growing struct {
	*fake
	series *atomic.Int64
}

func (g growing) Status(ctx context.Context) Status {
	s := g.fake.Status(ctx)
	s.Series = int(g.series.Add(1))
	return s
}

// ticking serves the example with a clock that goes.
func ticking(t *testing.T) string {
	t.Helper()
	begin := time.Now()
	now := func() time.Time { return moment.Add(time.Since(begin)) }
	return serve(t, newPages(t, growing{example(moment), &atomic.Int64{}}, PageOptions{Refresh: 100 * time.Millisecond, Now: now}))
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// Every page loads on a desktop and on a phone, bright and dark, without a
// complaint of the browser, and is no wider than the screen.
func TestBrowserPages(t *testing.T) {
	b := openBrowser(t)
	server := ticking(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.screen(t, width, 844, 1, scheme)
			for _, address := range allPages() {
				if address == "/nowhere" {
					continue // its status is an error to the browser too
				}
				b.run(t, chromedp.Navigate(server+address))
				if wide := eval[int64](t, b, "document.documentElement.scrollWidth"); wide > width {
					t.Errorf("%s is %d pixels wide on a screen of %d", address, wide, width)
				}
				if scheme == "light" && width == 1280 {
					b.wait(t, refreshed(eval[string](t, b, footer)))
				}
				ground := eval[string](t, b, "getComputedStyle(document.body).backgroundColor")
				if dark := ground == "rgb(15, 19, 21)"; dark != (scheme == "dark") {
					t.Errorf("%s has the ground %s where %s is preferred", address, ground, scheme)
				}
			}
		}
	}
	b.expectNoTrouble(t, server)
}

func TestBrowserQueryBox(t *testing.T) {
	b := openBrowser(t)
	server := ticking(t)
	b.run(t, chromedp.Navigate(server+"/series"))
	if n := eval[int](t, b, `document.querySelectorAll("#names option").length`); n != 17 {
		t.Errorf("%d names to complete, want 17", n)
	}
	b.run(t, chromedp.SendKeys("#expr", "sum by (mode) (rate(node_cpu_seconds_total[25s]))\r"))
	b.wait(t, `document.querySelectorAll(".chart path").length === 8 && document.querySelectorAll("table.rows tbody tr").length === 8`)
	if got := eval[string](t, b, "location.search"); !strings.HasPrefix(got, "?expr=sum+by+%28mode%29") || !strings.HasSuffix(got, "&range=2m") {
		t.Errorf("the query is not in the address: %s", got)
	}
	// The chart fills the page, and its lines are where their values are.
	box := eval[[]float64](t, b, `(() => { const r = document.querySelector(".chart path.c0").getBoundingClientRect(), s = document.querySelector(".chart svg").getBoundingClientRect(); return [s.width, s.height, r.width, r.height]; })()`)
	if box[0] < 600 || box[1] < 200 || box[2] < 0.95*box[0] || box[3] < 0.3*box[1] {
		t.Errorf("chart and line measure %v", box)
	}
	first := eval[string](t, b, `document.querySelector(".chart path").getAttribute("d")`)
	eval[bool](t, b, `document.activeElement.blur(), true`)
	b.wait(t, fmt.Sprintf(`document.querySelector(".chart path").getAttribute("d") !== %q`, first))
	b.expectNoTrouble(t, server)

	// While somebody types, nothing moves.
	b.run(t, chromedp.Focus("#expr"))
	b.wait(t, `document.getElementById("live").textContent === "paused"`)
	time.Sleep(150 * time.Millisecond) // for what was asked before
	before := eval[string](t, b, footer)
	time.Sleep(500 * time.Millisecond)
	if after := eval[string](t, b, footer); after != before {
		t.Errorf("the page was refreshed while the query box had the focus: %q, then %q", before, after)
	}
	eval[bool](t, b, `document.activeElement.blur(), true`)
	b.wait(t, refreshed(before))
	b.expectNoTrouble(t, server)

	// A query that is wrong says where.
	b.run(t, chromedp.Navigate(server+"/series?expr="+url.QueryEscape("sum((")))
	b.wait(t, `document.querySelector(".failed").innerText.includes("1:5: parse error")`)
}

func TestBrowserRefresh(t *testing.T) {
	b := openBrowser(t)
	server := ticking(t)
	b.screen(t, 390, 700, 1, "light")
	b.run(t, chromedp.Navigate(server+"/targets"))
	// Somebody has scrolled down, unfolded a target, gone to a link by keyboard
	// and moved the navigation.
	eval[bool](t, b, `(() => {
		const details = document.querySelectorAll("details")[5];
		details.open = true;
		window.unfolded = details.id;
		scrollTo(0, 600);
		document.getElementById("nav").scrollLeft = 70;
		document.querySelector('#nav a[href="rules"]').focus({preventScroll: true});
		return true;
	})()`)
	for range 3 {
		before := eval[string](t, b, footer)
		b.wait(t, refreshed(before))
	}
	if y := eval[float64](t, b, "scrollY"); y != 600 {
		t.Errorf("the page is scrolled to %v after a refresh, want 600", y)
	}
	if x := eval[float64](t, b, `document.getElementById("nav").scrollLeft`); x != 70 {
		t.Errorf("the navigation is scrolled to %v after a refresh, want 70", x)
	}
	if open := eval[[]string](t, b, `[...document.querySelectorAll("details[open]")].map(d => d.id).concat(window.unfolded)`); len(open) != 2 || open[0] != open[1] {
		t.Errorf("unfolded after a refresh: %v", open)
	}
	if focus := eval[string](t, b, `document.activeElement.getAttribute("href") || ""`); focus != "rules" {
		t.Errorf("the focus is on %q after a refresh, want rules", focus)
	}

	// The button holds the page still, also across pages.
	eval[bool](t, b, `document.getElementById("live").click(), true`)
	b.run(t, chromedp.Navigate(server+"/nodes"))
	b.wait(t, `document.getElementById("live").textContent === "paused"`)
	before := eval[string](t, b, footer)
	time.Sleep(400 * time.Millisecond)
	if after := eval[string](t, b, footer); after != before {
		t.Error("a page that is held was refreshed")
	}
	eval[bool](t, b, `document.getElementById("live").click(), true`)
	b.wait(t, `document.getElementById("live").textContent === "live"`)
	b.wait(t, refreshed(before))
	b.expectNoTrouble(t, server)
}

func TestBrowserFilter(t *testing.T) {
	b := openBrowser(t)
	server := ticking(t)
	b.run(t, chromedp.Navigate(server+"/nodes"), chromedp.SendKeys("#q", "shop"))
	b.wait(t, `location.search === "?q=shop" && document.querySelectorAll("table.nodes tbody tr").length === 4`)
	if focus := eval[string](t, b, "document.activeElement.id"); focus != "q" {
		t.Errorf("the focus went to %q", focus)
	}
	b.expectNoTrouble(t, server)
}

// A server that has gone is said to have, and one that is back is shown again.
func TestBrowserNoAnswer(t *testing.T) {
	b := openBrowser(t)
	handler := newPages(t, example(moment), PageOptions{Refresh: 100 * time.Millisecond})
	var gone atomic.Bool
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	}))
	b.run(t, chromedp.Navigate(server+"/targets"))
	gone.Store(true)
	b.wait(t, `document.getElementById("live").textContent === "no answer"`)
	if rows := eval[int](t, b, `document.querySelectorAll("tbody tr").length`); rows != 12 {
		t.Errorf("%d rows are left of what was there", rows)
	}
	gone.Store(false)
	b.wait(t, `document.getElementById("live").textContent === "live"`)
}

// Nothing that a label value can hold runs, in the page or by a refresh. The
// pages stand behind a prefix here, as behind a proxy.
func TestBrowserHostileTexts(t *testing.T) {
	b := openBrowser(t)
	mux := http.NewServeMux()
	for i, bad := range hostile() {
		handler := newPages(t, evil(bad), PageOptions{Refresh: 50 * time.Millisecond, Now: time.Now})
		prefix := fmt.Sprintf("/text/%d", i)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, handler))
	}
	server := serve(t, mux)
	for i := range hostile() {
		for _, address := range []string{"", "targets", "rules", "nodes", "collectors", "scope", "configuration", "series?expr=x", "explain?subject=x"} {
			b.run(t, chromedp.Navigate(fmt.Sprintf("%s/text/%d/%s", server, i, address)))
			before := eval[string](t, b, footer)
			b.wait(t, refreshed(before))
			if eval[bool](t, b, `"pwned" in window || document.querySelector("img, iframe, [onload], [onerror], [onfocus], [onmouseover]") !== null || [...document.links].some(a => a.protocol === "javascript:")`) {
				t.Errorf("text %d got through on %s", i, address)
			}
		}
	}
	b.expectNoTrouble(t, server)
}

// The policy is in force: what would be inline does not run.
func TestBrowserPolicy(t *testing.T) {
	b := openBrowser(t)
	b.run(t, chromedp.Navigate(ticking(t)+"/"))
	eval[bool](t, b, `(() => {
		const script = document.createElement("script");
		try { script.textContent = "window.pwned = 1"; document.body.append(script); } catch (refused) { window.typed = refused.name; }
		const image = document.createElement("img");
		image.src = "http://127.0.0.1:9/x.png";
		document.body.append(image);
		return true;
	})()`)
	b.wait(t, `window.typed === "TypeError"`)
	if eval[bool](t, b, `"pwned" in window`) {
		t.Error("an inline script ran")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if joined := strings.Join(b.trouble, "\n"); !regexp.MustCompile(`(?i)127\.0\.0\.1:9/x\.png.*violates|violates.*img-src`).MatchString(joined) {
		t.Errorf("an image of another host was not refused: %s", joined)
	}
}

// The picture in the README; -update takes it anew.
func TestBrowserPicture(t *testing.T) {
	b := openBrowser(t)
	server := serve(t, newPages(t, example(moment), PageOptions{}))
	b.screen(t, 1280, 816, 2, "light")
	b.run(t, chromedp.Navigate(server+"/nodes"))
	picture, err := chromedp.Run(b.Context, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(picture) < 20_000 {
		t.Errorf("a picture of %d bytes cannot be of a page", len(picture))
	}
	file := filepath.Join("..", "..", "docs", "status.png")
	if *update {
		if err := os.WriteFile(file, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is missing; -update takes it", file)
	}
}
