package scrape

import (
	"context"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
)

// A process that is not known is asked for ever less often, down to once a minute, and
// one that is known not any more.
func TestOriginPauses(t *testing.T) {
	var at []int // the scrapes that asked; 0 is the dialing
	scrape := 0
	own := job.DefaultConfig(job.DefaultGlobal())
	own.JobName = "j"
	if err := own.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := newClient(&job.Target{Job: &own, Interval: 5 * time.Second, URL: &url.URL{Scheme: "http", Host: "h"}}, Options{
		Dial: func(context.Context, labels.Labels, string, string) (net.Conn, error) { return &net.TCPConn{}, nil },
		Origin: func(context.Context, net.Conn) labels.Labels {
			at = append(at, scrape)
			if scrape < 39 {
				return labels.EmptyLabels()
			}
			return labels.FromStrings("target_pid", "100")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.connect(t.Context(), "tcp", "h:80", true); err != nil {
		t.Fatal(err)
	}
	for scrape = 1; scrape <= 100; scrape++ {
		if l := c.originLabels(t.Context()); l.IsEmpty() != (scrape < 39) {
			t.Errorf("scrape %d: %s", scrape, l)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 3, 7, 15, 27, 39}, at); diff != "" {
		t.Errorf("scrapes that asked (-want +got):\n%s", diff)
	}
}

// A file that is opened to dial, as a network namespace is, is none of the job's settings.
func TestReasonOfFile(t *testing.T) {
	_, err := os.Open("/proc/0/ns/net")
	if got := reasonOf(&url.Error{Op: "Get", URL: "http://h/", Err: err}); got != "connection" {
		t.Errorf("%v: %s", err, got)
	}
}
