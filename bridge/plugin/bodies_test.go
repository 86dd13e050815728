package plugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

var (
	bodiesFor  = flag.Duration("bodies", 2*time.Second, "how long TestBodies polls")
	bodiesBusy = flag.Int("busy", 0, "how many processes keep the CPUs from TestBodies meanwhile")
)

// The report of TestBodies: each publication has a sample of each metric.
const (
	bodiesNodes = 200
	bodiesPause = 20 * time.Millisecond // between publications
	bodiesStep  = 100 * time.Millisecond
	bodiesKept  = 1 << 8 // publications: 5 s of them, and 75 MB
)

// bodies are the publications that clients have polled, and what became of the polls.
type bodies struct {
	*testing.T
	report *Report
	socket string

	mu   sync.Mutex
	kept [bodiesKept]*published // by number
	last atomic.Int64           // number of the last publication

	whole, cut, empty, late atomic.Int64 // polls: read to the end, in part, not at all; too late to compare
	ended                   atomic.Int64 // of these, by the server
	read                    atomic.Int64 // bytes
}

// valueOf is the value of a metric's sample: what is in a body can be told from its time.
func valueOf(at time.Time, metric int) float64 {
	return float64(at.Sub(start())/bodiesStep) + float64(metric)/8
}

// publish publishes once more. Containers come and go, so that each body has another length.
func (b *bodies) publish() {
	n := b.last.Load() + 1
	at := start().Add(time.Duration(n) * bodiesStep)
	points := []mapping.Point{onHost(load, valueOf(at, 0)), onHost(iowait, valueOf(at, 1))}
	for id := range bodiesNodes/2 + int(n*7)%(bodiesNodes/2) {
		for i, template := range []mapping.Template{heap, fds} {
			points = append(points, mapping.Point{Topology: mapping.Container, ID: fmt.Sprintf("%064x", id), Template: template, Value: valueOf(at, i)})
		}
	}
	b.report.Apply(mapping.Result{At: at, Points: points})
	b.mu.Lock() // whoever has read this publication finds it among the candidates
	defer b.mu.Unlock()
	b.report.Publish(at)
	b.kept[n%bodiesKept] = b.report.published.Load()
	b.last.Store(n)
}

// candidates are the publications that a poll may have got that began after the one of that number, and has
// ended; false if they are not kept any more.
func (b *bodies) candidates(first int64) ([]*published, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.last.Load()
	var all []*published
	for n := max(first, last-bodiesKept+1); n <= last; n++ {
		all = append(all, b.kept[n%bodiesKept])
	}
	return all, last-first < bodiesKept
}

// wasPublished tells whether a body is one that was published, or the beginning of one.
func wasPublished(all []*published, body []byte, whole bool) bool {
	var out bytes.Buffer
	for _, p := range all {
		for turn := range p.bytes {
			if len(body) > p.bytes[turn] || whole && len(body) != p.bytes[turn] {
				continue
			}
			out.Reset()
			w := bufio.NewWriter(&out)
			p.write(w, turn)
			_ = w.Flush() // a Buffer takes everything
			if bytes.HasPrefix(out.Bytes(), body) {
				return true
			}
		}
	}
	return false
}

// bodiesClient is a client, and how it polls.
type bodiesClient struct {
	*http.Client
	probeID  string
	deadline time.Duration // of a poll
	hasty    bool          // it breaks off most answers
	checker  *probetest.Checker
}

// poll polls once and keeps the body until each byte of it is compared.
func (b *bodies) poll(ctx context.Context, c *bodiesClient) {
	first := b.last.Load()
	within, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	body, length, err := c.get(within)
	all, kept := b.candidates(first)
	b.read.Add(int64(len(body)))
	// On a machine that is busy the server ends connections whose request comes late.
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.ended.Add(1)
	}
	switch {
	case err == nil && int64(len(body)) != length:
		b.Errorf("%d bytes of %d, without an error", len(body), length)
	case len(body) == 0:
		b.empty.Add(1)
	case !kept:
		b.late.Add(1)
	case !wasPublished(all, body, err == nil):
		b.Errorf("a body of %d bytes, of %d (%v), was never published:\n%s", len(body), length, err, body)
	case err != nil:
		b.cut.Add(1)
	default:
		b.whole.Add(1)
		b.check(c, body)
	}
}

// get returns the body as far as it came, and the length that the answer says.
func (c *bodiesClient) get(ctx context.Context) (body []byte, length int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin/report?probe_id="+c.probeID, nil)
	if err != nil {
		return nil, 0, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	from := io.Reader(response.Body)
	if c.hasty {
		time.AfterFunc(rand.N(10*time.Millisecond), cancel)
		from = slow{from}
	}
	body, err = io.ReadAll(from)
	return body, response.ContentLength, err
}

// check looks at what a whole body says, without what has encoded it.
func (b *bodies) check(c *bodiesClient, body []byte) {
	report, err := c.checker.Check(body)
	if err != nil {
		b.Errorf("%v\nin %s", err, body)
		return
	}
	metrics := 0
	check := func(topology, node string, ids ...string) {
		for i, id := range ids {
			m := report.Metric(topology, node, id)
			if m == nil {
				b.Errorf("%s has no %s in %s", node, id, body)
				return
			}
			for _, s := range m.Samples {
				if s.Value != valueOf(s.Date, i) {
					b.Errorf("%s of %s is %v at %s, want %v", id, node, s.Value, s.Date, valueOf(s.Date, i))
				}
			}
			metrics++
		}
	}
	check("Host", "vm;<host>", load.ID, iowait.ID)
	for node := range report.Topologies["Container"].Nodes {
		check("Container", node, heap.ID, fds.ID)
	}
	if metrics < bodiesNodes {
		b.Errorf("only %d metrics in %s", metrics, body)
	}
}

// slow takes a millisecond for each read.
type slow struct{ io.Reader }

func (s slow) Read(to []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(to)
}

// patient goes on reading when the time for a read is up.
type patient struct {
	net.Conn
	each time.Duration
}

func (p patient) Read(to []byte) (int, error) {
	for {
		if err := p.SetReadDeadline(time.Now().Add(p.each)); err != nil {
			return 0, err
		}
		if n, err := p.Conn.Read(to); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// Each byte that a client reads is of the body that was published, whether it reads to the end, gives up in
// the middle or comes late to each read; and each value is the right one. Probes do not wait for more
// than half a second.
//
//	nice go test ./bridge/plugin -run TestBodies -v -timeout 0 -bodies 1h -busy 16
func TestBodies(t *testing.T) {
	b := &bodies{T: t, report: NewReport(options(), templates(), discard(), nil)}
	b.publish()
	b.socket = startServer(t, b.report, ServerOptions{}).socket
	for range *bodiesBusy {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	}
	clients := []*bodiesClient{
		{probeID: "", deadline: time.Minute},
		{probeID: "patient", deadline: time.Minute, Client: &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				conn, err := net.Dial("unix", b.socket)
				return patient{conn, 100 * time.Microsecond}, err
			},
		}}},
	}
	for i := range 4 {
		clients = append(clients,
			&bodiesClient{probeID: fmt.Sprint("probe", i), deadline: 500 * time.Millisecond},
			&bodiesClient{probeID: fmt.Sprint("hasty", i), deadline: time.Minute, hasty: true})
	}
	ctx, cancel := context.WithTimeout(t.Context(), *bodiesFor)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		for tick := time.Tick(bodiesPause); ctx.Err() == nil; <-tick {
			b.publish()
		}
	})
	for _, c := range clients {
		if c.Client == nil {
			c.Client = httpClient(t, b.socket)
		}
		c.checker = probetest.NewChecker("promscope", probetest.Options{Host: "vm", Now: func() time.Time { return start().AddDate(1, 0, 0) }})
		all.Go(func() {
			defer c.CloseIdleConnections()
			for tick := time.Tick(25 * time.Millisecond); ctx.Err() == nil && !t.Failed(); <-tick {
				b.poll(ctx, c)
			}
		})
	}
	all.Wait()
	whole, cut, empty, late, ended := b.whole.Load(), b.cut.Load(), b.empty.Load(), b.late.Load(), b.ended.Load()
	t.Logf("%d publications; of the polls %d were read to the end, %d in part, %d not at all, and %d came too late to be compared; %d were ended by the server; %d MB",
		b.last.Load(), whole, cut, empty, late, ended, b.read.Load()/1e6)
	if whole == 0 || cut == 0 || late > whole || ended > whole/10 {
		t.Error("that is no proof")
	}
}
