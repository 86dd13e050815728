package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/bridge/web/browsertest"
)

// footer is what tells one state of a page from the next: it has the time.
const footer = `document.getElementById("footer").innerText`

// refreshed is true in the page when its footer is another one.
func refreshed(before string) string { return fmt.Sprintf("%s !== %q", footer, before) }

// growing is the example with a store that grows each time it is looked at, so
// that every refresh has something to change in every part of a page.
type growing struct {
	*fake
	series *atomic.Int64
}

func (g growing) Status(ctx context.Context) view.Status {
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
	t.Parallel()
	b := browsertest.Open(t)
	server := ticking(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.Screen(t, width, 844, 1, scheme)
			for _, address := range allPages() {
				if address == "/nowhere" {
					continue // its status is an error to the browser too
				}
				b.Run(t, chromedp.Navigate(server+address))
				if wide := browsertest.Eval[int64](t, b, "document.documentElement.scrollWidth"); wide > width {
					t.Errorf("%s is %d pixels wide on a screen of %d", address, wide, width)
				}
				if scheme == "light" && width == 1280 {
					b.Wait(t, refreshed(browsertest.Eval[string](t, b, footer)))
				}
				ground := browsertest.Eval[string](t, b, "getComputedStyle(document.body).backgroundColor")
				if dark := ground == "rgb(15, 19, 21)"; dark != (scheme == "dark") {
					t.Errorf("%s has the ground %s where %s is preferred", address, ground, scheme)
				}
			}
		}
	}
	b.ExpectNoTrouble(t, server)
}

func TestBrowserQueryBox(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	server := ticking(t)
	b.Run(t, chromedp.Navigate(server+"/series"))
	if n := browsertest.Eval[int](t, b, `document.querySelectorAll("#names option").length`); n != 17 {
		t.Errorf("%d names to complete, want 17", n)
	}
	b.Run(t, chromedp.SendKeys("#expr", "sum by (mode) (rate(node_cpu_seconds_total[25s]))\r"))
	b.Wait(t, `document.querySelectorAll(".chart path").length === 8 && document.querySelectorAll("table.rows tbody tr").length === 8`)
	if got := browsertest.Eval[string](t, b, "location.search"); !strings.HasPrefix(got, "?expr=sum+by+%28mode%29") || !strings.HasSuffix(got, "&range=2m") {
		t.Errorf("the query is not in the address: %s", got)
	}
	// The chart fills the page, and its lines are where their values are.
	box := browsertest.Eval[[]float64](t, b, `(() => { const r = document.querySelector(".chart path.c0").getBoundingClientRect(), s = document.querySelector(".chart svg").getBoundingClientRect(); return [s.width, s.height, r.width, r.height]; })()`)
	if box[0] < 600 || box[1] < 200 || box[2] < 0.95*box[0] || box[3] < 0.3*box[1] {
		t.Errorf("chart and line measure %v", box)
	}
	first := browsertest.Eval[string](t, b, `document.querySelector(".chart path").getAttribute("d")`)
	browsertest.Eval[bool](t, b, `document.activeElement.blur(), true`)
	b.Wait(t, fmt.Sprintf(`document.querySelector(".chart path").getAttribute("d") !== %q`, first))
	b.ExpectNoTrouble(t, server)

	// While somebody types, nothing moves.
	b.Run(t, chromedp.Focus("#expr"))
	b.Wait(t, `document.getElementById("live").textContent === "paused"`)
	time.Sleep(150 * time.Millisecond) // for what was asked before
	before := browsertest.Eval[string](t, b, footer)
	time.Sleep(500 * time.Millisecond)
	if after := browsertest.Eval[string](t, b, footer); after != before {
		t.Errorf("the page was refreshed while the query box had the focus: %q, then %q", before, after)
	}
	browsertest.Eval[bool](t, b, `document.activeElement.blur(), true`)
	b.Wait(t, refreshed(before))
	b.ExpectNoTrouble(t, server)

	// A query that is wrong says where.
	b.Run(t, chromedp.Navigate(server+"/series?expr="+url.QueryEscape("sum((")))
	b.Wait(t, `document.querySelector(".failed").innerText.includes("1:5: parse error")`)
}

func TestBrowserRefresh(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	server := ticking(t)
	b.Screen(t, 390, 700, 1, "light")
	b.Run(t, chromedp.Navigate(server+"/targets"))
	// Somebody has scrolled down, unfolded a target, gone to a link by keyboard
	// and moved the navigation.
	browsertest.Eval[bool](t, b, `(() => {
		const details = document.querySelectorAll("details")[5];
		details.open = true;
		window.unfolded = details.id;
		scrollTo(0, 600);
		document.getElementById("nav").scrollLeft = 70;
		document.querySelector('#nav a[href="rules"]').focus({preventScroll: true});
		return true;
	})()`)
	for range 3 {
		before := browsertest.Eval[string](t, b, footer)
		b.Wait(t, refreshed(before))
	}
	if y := browsertest.Eval[float64](t, b, "scrollY"); y != 600 {
		t.Errorf("the page is scrolled to %v after a refresh, want 600", y)
	}
	if x := browsertest.Eval[float64](t, b, `document.getElementById("nav").scrollLeft`); x != 70 {
		t.Errorf("the navigation is scrolled to %v after a refresh, want 70", x)
	}
	if open := browsertest.Eval[[]string](t, b, `[...document.querySelectorAll("details[open]")].map(d => d.id).concat(window.unfolded)`); len(open) != 2 || open[0] != open[1] {
		t.Errorf("unfolded after a refresh: %v", open)
	}
	if focus := browsertest.Eval[string](t, b, `document.activeElement.getAttribute("href") || ""`); focus != "rules" {
		t.Errorf("the focus is on %q after a refresh, want rules", focus)
	}

	// The button holds the page still, also across pages.
	browsertest.Eval[bool](t, b, `document.getElementById("live").click(), true`)
	b.Run(t, chromedp.Navigate(server+"/nodes"))
	b.Wait(t, `document.getElementById("live").textContent === "paused"`)
	before := browsertest.Eval[string](t, b, footer)
	time.Sleep(400 * time.Millisecond)
	if after := browsertest.Eval[string](t, b, footer); after != before {
		t.Error("a page that is held was refreshed")
	}
	browsertest.Eval[bool](t, b, `document.getElementById("live").click(), true`)
	b.Wait(t, `document.getElementById("live").textContent === "live"`)
	b.Wait(t, refreshed(before))
	b.ExpectNoTrouble(t, server)
}

func TestBrowserFilter(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	server := ticking(t)
	b.Run(t, chromedp.Navigate(server+"/nodes"), chromedp.SendKeys("#q", "shop"))
	b.Wait(t, `location.search === "?q=shop" && document.querySelectorAll("table.nodes tbody tr").length === 4`)
	if focus := browsertest.Eval[string](t, b, "document.activeElement.id"); focus != "q" {
		t.Errorf("the focus went to %q", focus)
	}
	b.ExpectNoTrouble(t, server)
}

// A server that has gone is said to have, and one that is back is shown again.
func TestBrowserNoAnswer(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	handler := newPages(t, example(moment), PageOptions{Refresh: 100 * time.Millisecond})
	var gone atomic.Bool
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	}))
	b.Run(t, chromedp.Navigate(server+"/targets"))
	gone.Store(true)
	b.Wait(t, `document.getElementById("live").textContent === "no answer"`)
	if rows := browsertest.Eval[int](t, b, `document.querySelectorAll("tbody tr").length`); rows != 12 {
		t.Errorf("%d rows are left of what was there", rows)
	}
	gone.Store(false)
	b.Wait(t, `document.getElementById("live").textContent === "live"`)
}

// Nothing that a label value can hold runs, in the page or by a refresh. The
// pages stand behind a prefix here, as behind a proxy.
func TestBrowserHostileTexts(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	mux := http.NewServeMux()
	for i, bad := range hostile() {
		handler := newPages(t, evil(bad), PageOptions{Refresh: 50 * time.Millisecond, Now: time.Now})
		prefix := fmt.Sprintf("/text/%d", i)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, handler))
	}
	server := serve(t, mux)
	for i := range hostile() {
		for _, address := range []string{"", "targets", "rules", "nodes", "collectors", "scope", "configuration", "series?expr=x", "explain?subject=x"} {
			b.Run(t, chromedp.Navigate(fmt.Sprintf("%s/text/%d/%s", server, i, address)))
			before := browsertest.Eval[string](t, b, footer)
			b.Wait(t, refreshed(before))
			if browsertest.Eval[bool](t, b, `"pwned" in window || document.querySelector("img, iframe, [onload], [onerror], [onfocus], [onmouseover]") !== null || [...document.links].some(a => a.protocol === "javascript:")`) {
				t.Errorf("text %d got through on %s", i, address)
			}
		}
	}
	b.ExpectNoTrouble(t, server)
}

// The policy is in force: what would be inline does not run.
func TestBrowserPolicy(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	b.Run(t, chromedp.Navigate(ticking(t)+"/"))
	browsertest.Eval[bool](t, b, `(() => {
		const script = document.createElement("script");
		try { script.textContent = "window.pwned = 1"; document.body.append(script); } catch (refused) { window.typed = refused.name; }
		const image = document.createElement("img");
		image.src = "http://127.0.0.1:9/x.png";
		document.body.append(image);
		return true;
	})()`)
	b.Wait(t, `window.typed === "TypeError"`)
	if browsertest.Eval[bool](t, b, `"pwned" in window`) {
		t.Error("an inline script ran")
	}
	if joined := strings.Join(b.Trouble(), "\n"); !regexp.MustCompile(`(?i)127\.0\.0\.1:9/x\.png.*violates|violates.*img-src`).MatchString(joined) {
		t.Errorf("an image of another host was not refused: %s", joined)
	}
}

// The picture in the README; -update takes it anew.
func TestBrowserPicture(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	shown := example(moment)
	shown.collectors = shown.collectors[:2] // those that there are
	server := serve(t, newPages(t, shown, PageOptions{}))
	b.Screen(t, 1280, 816, 2, "light")
	b.Run(t, chromedp.Navigate(server+"/nodes"))
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
