// Package browsertest looks at pages in a real browser, a headless Chromium, and
// notes whatever it complains of.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
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

// Browser is a headless Chromium with what went wrong in it.
type Browser struct {
	context.Context
	mu       sync.Mutex
	trouble  []string
	requests []string
}

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

// Open starts a Chromium for the test, or skips it with the reason. With
// PROMSCOPE_REQUIRE_BROWSER=1 there has to be one.
func Open(t *testing.T) *Browser {
	t.Helper()
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(findChromium(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("TMPDIR=" + t.TempDir()), // its socket, which it leaves there
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
	b := &Browser{Context: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	call(t, b, network.Enable, network.EnableParams{})
	call(t, b, log.Enable, cdp.Empty{})
	return b
}

// note keeps everything that a developer would see in red.
func (b *Browser) note(event any) {
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
func call[P, R any](t *testing.T, b *Browser, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(b.Context, command, params); err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
}

// Screen makes the browser's screen this large, and prefer light or dark.
func (b *Browser) Screen(t *testing.T, width, height int64, scale float64, scheme string) {
	t.Helper()
	call(t, b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 500})
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// Run runs actions.
func (b *Browser) Run(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.Context, actions...); err != nil {
		t.Fatal(err)
	}
}

// Eval evaluates an expression in the page.
func Eval[T any](t *testing.T, b *Browser, expression string) T {
	t.Helper()
	result, err := chromedp.Run(b.Context, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return result
}

// Wait waits until an expression is true in the page. One that cannot be evaluated
// is not: while a page loads, what it looks for is not there yet.
func (b *Browser) Wait(t *testing.T, expression string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		ok, err := chromedp.Run(b.Context, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page does not come to %s (%v); it says:\n%s", expression, err, Eval[string](t, b, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ExpectNoTrouble fails the test for everything that went wrong since the last
// time, and for every request that left the server.
func (b *Browser) ExpectNoTrouble(t *testing.T, server string) {
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

// Trouble takes away what went wrong since the last time, for tests that expect
// some.
func (b *Browser) Trouble() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	trouble := b.trouble
	b.trouble, b.requests = nil, nil
	return trouble
}
