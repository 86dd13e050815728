package discovery

import (
	"context"
	"net/netip"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/ebpf/port"
)

// watch runs discovery and calls fn with each set of targets, until it is
// content or the time is over.
func watch(t *testing.T, d discovery.Discoverer, within time.Duration, steps ...func(targets []model.LabelSet) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	up := make(chan []*targetgroup.Group)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx, up)
	}()
	var last []model.LabelSet
	for step, ok := range steps {
		for content := step > 0 && ok(last); !content; {
			select {
			case groups := <-up:
				last = groups[0].Targets
				content = ok(last)
			case <-ctx.Done():
				t.Fatalf("step %d: %v after %v", step, last, within)
			}
		}
	}
	cancel()
	<-done
}

// Servers in our own and in other namespaces become targets, and vanish when
// they stop; one that another job scrapes is left alone.
func TestDiscoverReal(t *testing.T) {
	ours := hosttest.Start(t, "server", 0, "ADDRESS=127.0.0.1:0")
	claimed := hosttest.Start(t, "server", 0, "ADDRESS=127.0.0.1:0")
	theirs := hosttest.Start(t, "server", syscall.CLONE_NEWNET|syscall.CLONE_NEWPID, "ADDRESS=0.0.0.0:0")
	unixSocket := hosttest.Start(t, "server", 0, "ADDRESS="+filepath.Join(t.TempDir(), "my_exporter.sock"))

	p, _ := newTestProber(t, "/proc", func() []Claim {
		return []Claim{{Address: claimed.Address, Path: "/metrics"}}
	})
	if err := p.reach; err != nil {
		t.Skip(err)
	}
	c := defaultListenerSDConfig()
	c.Interval = minListenerInterval
	c.Ports = nil
	for _, s := range []hosttest.Helper{ours, claimed, theirs} {
		number := netip.MustParseAddrPort(s.Address).Port()
		c.Ports = append(c.Ports, port.Range{First: number, Last: number})
	}
	d := p.Discoverer(&Entry{Scrape: &plainly.job, Config: &c}, promslog.NewNopLogger())
	has := func(targets []model.LabelSet, pid int) model.LabelSet {
		for _, target := range targets {
			if target[labelListenerPID] == model.LabelValue(strconv.Itoa(pid)) {
				return target
			}
		}
		return nil
	}
	var dialed model.LabelSet
	watch(t, d, 20*time.Second,
		func(targets []model.LabelSet) bool {
			dialed = has(targets, theirs.PID)
			return has(targets, ours.PID) != nil && dialed != nil && has(targets, unixSocket.PID) != nil
		},
		func(targets []model.LabelSet) bool {
			if has(targets, claimed.PID) != nil {
				t.Error("an endpoint that another job scrapes is a target")
			}
			ns, err := strconv.ParseUint(string(dialed[LabelNetNS]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := p.sockets.DialContext(context.Background(), ns, "tcp", string(dialed[model.AddressLabel]))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if owner, _ := p.sockets.OwnerOf(context.Background(), conn); owner.PID != theirs.PID {
				t.Errorf("owner %d, want %d", owner.PID, theirs.PID)
			}
			ours.Stop()
			theirs.Stop()
			return true
		},
		func(targets []model.LabelSet) bool {
			return has(targets, ours.PID) == nil && has(targets, theirs.PID) == nil && has(targets, unixSocket.PID) != nil
		},
	)
}

// Where nothing is found that is said, too: discovery has to be known as done.
func TestDiscoverNothing(t *testing.T) {
	p, _ := newTestProber(t, hosttest.New(t).Root, nil)
	c := defaultListenerSDConfig()
	d := p.Discoverer(&Entry{Scrape: &plainly.job, Config: &c}, promslog.NewNopLogger())
	watch(t, d, 5*time.Second, func(targets []model.LabelSet) bool { return len(targets) == 0 })
}
