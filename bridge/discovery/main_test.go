package discovery

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

const metrics = "# HELP up_time Time.\n# TYPE up_time gauge\nup_time 1\nup_total{a=\"b\"} 2\n"

// plainly is how a job asks that says nothing of its own.
var plainly = &asker{jobOf(nil)}

// jobOf returns a job, which may say something of its own.
func jobOf(set func(*job.Config)) job.Config {
	j := job.DefaultConfig(job.DefaultGlobal())
	j.JobName = "local"
	if set != nil {
		set(&j)
	}
	if err := j.Validate(); err != nil {
		panic(err)
	}
	return j
}

func TestMain(m *testing.M) {
	os.Exit(hosttest.Main(m, map[string]func() (string, error){"server": runServer}))
}

// runServer serves an exposition at the address in the environment.
func runServer() (string, error) {
	if err := hosttest.LoopbackUp(); err != nil {
		return "", err
	}
	network, address := "tcp", os.Getenv("ADDRESS")
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(serveExposition)) }()
	return l.Addr().String(), nil
}

func serveExposition(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, metrics)
}

func newTestProber(t testing.TB, root string, claimed func() []Claim) (*Prober, *prometheus.Registry) {
	t.Helper()
	m, err := host.New(host.Options{ProcRoot: root})
	if err != nil {
		t.Fatal(err)
	}
	if claimed == nil {
		claimed = func() []Claim { return nil }
	}
	reg := prometheus.NewPedanticRegistry()
	p, err := NewProber(m, socket.New(m), claimed, promslog.NewNopLogger(), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		m.Close()
	})
	return p, reg
}
