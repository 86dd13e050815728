package plugin

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

// scopeApp keeps answers as Scope's app keeps reports (app/collector.go): those that
// arrived in the last 15 s.
type scopeApp struct {
	arrived []time.Time
	answers []*probetest.Report
}

const scopeWindow = 15 * time.Second

func (a *scopeApp) add(at time.Time, r *probetest.Report) {
	a.arrived, a.answers = append(a.arrived, at), append(a.answers, r)
}

// sparkline returns the union of a metric's samples (Metric.Merge in Scope's
// report/metrics.go).
func (a *scopeApp) sparkline(now time.Time, node, metric string) map[time.Time]float64 {
	union := map[time.Time]float64{}
	for i, r := range a.answers {
		if !a.arrived[i].After(now.Add(-scopeWindow)) {
			continue
		}
		if m := r.Metric("Process", node, metric); m != nil {
			for _, s := range m.Samples {
				union[s.Date] = s.Value
			}
		}
	}
	return union
}

// feed is a report of processes. A metric for each interval has a sample each
// interval, give or take 40 ms.
type feed struct {
	*harness
	intervals []int // in seconds
	nodes     int
	random    *rand.Rand
}

func newFeed(t *testing.T, nodes int, intervals ...int) *feed {
	return &feed{newHarness(t, options()), intervals, nodes, rand.New(rand.NewPCG(1, 2))}
}

func (f *feed) metric(interval int) string { return fmt.Sprintf("each_%d_seconds", interval) }

// run publishes what second n brings, and returns the time.
func (f *feed) run(n int) time.Time {
	for rule, interval := range f.intervals {
		if n%interval > 0 {
			continue
		}
		at := second(n).Add(time.Duration(f.random.IntN(80)) * time.Millisecond)
		template := mapping.Template{ID: f.metric(interval), Label: f.metric(interval), Priority: 3 + float64(rule)}
		var points []mapping.Point
		for pid := range f.nodes {
			points = append(points, onProcess(pid+1, template, f.random.Float64()*1000))
		}
		f.Apply(mapping.Result{Rule: rule, At: at, Points: points})
	}
	f.now = second(n).Add(500 * time.Millisecond)
	f.Publish(f.now)
	return f.now
}

// answer returns what a poll gets, after it was checked.
func (f *feed) answer(p *pollers, poller Poller) (*probetest.Report, int) {
	f.Helper()
	published, turn := f.published.Load(), p.turn(poller, f.now)
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	published.write(w, turn)
	w.Flush()
	poller.Last = f.now
	p.record(poller)
	report, err := f.checker.Check(out.Bytes())
	if err != nil {
		f.Fatal(err)
	}
	return report, turn
}

// TestSparklines loses polls, up to two in a row, and of those a cycle of turns apart
// one. Once the app's memory is full, Scope must show what it would show if every answer had
// every window: all of the last 15 s, and of what is older all that is in the window.
func TestSparklines(t *testing.T) {
	f := newFeed(t, 5, 1, 2, 3, 5, 15)
	const arrival = 75 // of the probe: the windows are full
	var p pollers
	var app, before scopeApp // before: with all samples in every answer
	lost := make([]bool, 400)
	losses, older := 0, 0
	for n := range lost {
		now := f.run(n)
		if n < arrival {
			continue
		}
		answer, _ := f.answer(&p, Poller{ProbeID: "x"})
		lost[n] = n > arrival && f.random.IntN(3) == 0 && (!lost[n-1] || !lost[n-2]) && !lost[n-turns]
		if lost[n] {
			losses++
			continue
		}
		app.add(now, answer)
		before.add(now, f.check())
		if n < arrival+15 {
			continue
		}
		for _, node := range f.Snapshot().Nodes {
			for _, m := range node.Metrics {
				got, want := app.sparkline(now, node.Key, m.Template.ID), before.sparkline(now, node.Key, m.Template.ID)
				for at := range want {
					if now.Sub(at) <= scopeWindow || !at.Before(m.Samples[0].At) {
						continue
					}
					if _, found := got[at]; !found {
						older++
					}
					delete(want, at)
					delete(got, at)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("second %d: %s of %s differs (-all samples +got):\n%s", n, m.Template.ID, node.Key, diff)
				}
			}
		}
	}
	if losses < len(lost)/10 {
		t.Errorf("only %d polls were lost", losses)
	}
	if older == 0 {
		t.Error("every answer has all samples")
	}
}

// TestSparklinesOfAStarvedMachine loses a third of the polls at random. The value is
// that of the last answer, and hardly a sample of the window is missing.
func TestSparklinesOfAStarvedMachine(t *testing.T) {
	f := newFeed(t, 7, 1, 5)
	var p pollers
	var app scopeApp
	samples, missing := 0, 0
	for n := range 400 {
		now := f.run(n)
		answer, _ := f.answer(&p, Poller{ProbeID: "x"})
		if f.random.IntN(3) == 0 {
			continue
		}
		app.add(now, answer)
		if n < 75 {
			continue
		}
		for _, node := range f.Snapshot().Nodes {
			for _, m := range node.Metrics {
				got := app.sparkline(now, node.Key, m.Template.ID)
				samples += len(m.Samples)
				for _, s := range m.Samples {
					if _, found := got[s.At.UTC()]; !found {
						missing++
					}
				}
				last := m.Samples[len(m.Samples)-1]
				if value, _ := answer.Value("Process", node.Key, m.Template.ID); value != last.Value {
					t.Fatalf("second %d: %s is %v, want %v", n, m.Template.ID, value, last.Value)
				}
			}
		}
	}
	share := float64(missing) / float64(samples)
	t.Logf("%.1f %% of the samples are missing", 100*share)
	if share > 0.06 {
		t.Errorf("%.1f %% of the samples are missing", 100*share)
	}
}

// TestPollersThatGoOnGetLess than a third of the bytes.
func TestPollersThatGoOnGetLess(t *testing.T) {
	for _, interval := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("%ds", interval), func(t *testing.T) {
			f := newFeed(t, 70, interval)
			var p pollers
			all, sent, largest := 0, 0, 0
			for n := range 75 + 5*turns {
				f.run(n)
				answer, _ := f.answer(&p, Poller{ProbeID: "x"})
				if n < 75 {
					continue
				}
				all += len(f.JSON())
				sent += len(answer.Body)
				largest = max(largest, len(answer.Body))
			}
			share := float64(sent) / float64(all)
			t.Logf("%.1f %% of the bytes", 100*share)
			if want := 1.0 / 3; share > want {
				t.Errorf("%.1f %% of the bytes", 100*share)
			}
			if mean := sent / (5 * turns); largest > mean*11/10 {
				t.Errorf("an answer has %d bytes, the mean is %d", largest, mean)
			}
		})
	}
}

// TestFirstAnswers: after seven answers a new probe has all windows, and after seven more if
// one was lost. None of them is much larger than those that follow.
func TestFirstAnswers(t *testing.T) {
	for _, lost := range []int{-1, 0, 3, 6} {
		f := newFeed(t, 30, 1, 2, 5, 60)
		for n := range 120 {
			f.run(n)
		}
		var p pollers
		var app scopeApp
		largest := 0
		for n := range 4 * turns {
			now := f.run(120 + n)
			answer, _ := f.answer(&p, Poller{ProbeID: "x"})
			size := len(answer.Body)
			if largest = max(largest, size); n >= fillings && largest > size*8/5 {
				t.Fatalf("an answer has %d bytes, one to a new probe had %d", size, largest)
			}
			if n == lost {
				continue
			}
			app.add(now, answer)
			if n != turns-1 && n != fillings-1 || lost >= 0 && n < fillings-1 {
				continue
			}
			for _, node := range f.Snapshot().Nodes {
				for _, m := range node.Metrics {
					got := app.sparkline(now, node.Key, m.Template.ID)
					for _, s := range m.Samples {
						if _, found := got[s.At.UTC()]; !found {
							t.Fatalf("answer %d, lost %d: %s of %s lacks %s", n, lost, m.Template.ID, node.Key, s.At)
						}
					}
				}
			}
		}
	}
}

func TestWhoGetsWhichSamples(t *testing.T) {
	f := newFeed(t, 1, 1)
	f.run(0)
	var p pollers
	const recent, more, all = "recent", "more", "all"
	samples := func(poller Poller) string {
		switch _, turn := f.answer(&p, poller); {
		case turn == allSamples:
			return all
		case turn >= filling:
			return more
		}
		return recent
	}
	first, second := Poller{ProbeID: "1", Peer: Peer{PID: 10}}, Poller{ProbeID: "1", Peer: Peer{PID: 11}}
	curl := Poller{UserAgent: "curl"}
	for n, step := range []struct {
		poller  Poller
		silence int // before the poll, in seconds
		want    string
	}{
		{first, 0, more},
		{second, 0, more}, // as if the first did not poll
		{first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more},
		{first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, {first, 0, more}, // 14
		{first, 1, recent},
		{second, 0, more},
		{curl, 0, all},
		{curl, 1, all},
		{first, 2, recent}, // three seconds
		{second, 1, more},
		{first, 3, more}, // four
		{first, 1, more},
	} {
		f.now = f.now.Add(time.Duration(step.silence) * time.Second)
		if got := samples(step.poller); got != step.want {
			t.Errorf("poll %d: %s samples, want %s", n, got, step.want)
		}
	}
}
