package scrape_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// residentEnv makes TestResidentMemory the process that is measured: it scrapes
// the address for a while and prints its resident memory.
const residentEnv = "SCRAPE_RESIDENT_TARGET"

// TestResidentMemory holds that an exposition is streamed: ten times the
// series, of which rules take 1 %, cost hardly more memory.
func TestResidentMemory(t *testing.T) {
	if target := os.Getenv(residentEnv); target != "" {
		scrapeAndTell(t, target)
		return
	}
	if scrape.RaceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	var small, large int
	var both sync.WaitGroup
	both.Go(func() { small = resident(t, 10_000) })
	both.Go(func() { large = resident(t, 100_000) })
	both.Wait()
	t.Logf("resident: %d KiB with 10,000 series, %d KiB with 100,000", small, large)
	if float64(large) > 1.2*float64(small) {
		t.Errorf("%d KiB with 10,000 series, %d KiB with 100,000", small, large)
	}
}

// resident returns the resident memory, in KiB, of a process that scrapes that
// many series.
func resident(t *testing.T, series int) int {
	var body bytes.Buffer
	for i := range series {
		if i%100 == 0 {
			fmt.Fprintf(&body, "# HELP metric_%d_total A counter.\n# TYPE metric_%d_total counter\n", i/100, i/100)
		}
		fmt.Fprintf(&body, "metric_%d_total{device=\"dev%d\",path=\"/api/v1/resource/%d\"} %d\n", i/100, i%10, i%100, i)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", text)
		_, _ = w.Write(body.Bytes())
	}))
	defer srv.Close()
	// Failures are reported without t.Fatal, which is for the test's own goroutine.
	cmd := exec.Command(os.Args[0], "-test.run=^TestResidentMemory$", "-test.v")
	cmd.Env = append(os.Environ(), residentEnv+"="+strings.TrimPrefix(srv.URL, "http://"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return 0
	}
	for line := range strings.Lines(string(out)) {
		if kib, ok := strings.CutPrefix(strings.TrimSpace(line), "VmRSS KiB "); ok {
			n, err := strconv.Atoi(kib)
			if err != nil {
				t.Error(err)
			}
			return n
		}
	}
	t.Errorf("no figure in\n%s", out)
	return 0
}

func scrapeAndTell(t *testing.T, addr string) {
	j := jobNamed("j")
	j.ScrapeInterval, j.ScrapeTimeout = model.Duration(300*time.Millisecond), model.Duration(300*time.Millisecond)
	var selectors []string
	for i := 50; i < 1000; i += 100 {
		selectors = append(selectors, fmt.Sprintf("metric_%d_total", i))
	}
	r := start(t, nil, []*job.Config{j}, scrape.Options{}, selectors...)
	r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
	time.Sleep(1500 * time.Millisecond) // five scrapes, in which the heap gets its size
	if s := r.Targets()[0]; s.Health != scrape.HealthUp || s.Kept < 100 {
		t.Fatalf("%+v", s)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			fmt.Printf("VmRSS KiB %s\n", f[1])
		}
	}
}
