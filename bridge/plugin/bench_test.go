package plugin

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

// loadedReport returns a report of processes whose metrics have full windows, with a
// sample each second, and the results that go on with it: one rule for each metric.
func loadedReport(b *testing.B, nodes, metrics int) (*Report, []mapping.Result) {
	b.Helper()
	r := NewReport(options(), templates(), discard(), nil)
	results := make([]mapping.Result, metrics)
	for rule := range results {
		template := mapping.Template{ID: fmt.Sprintf("promscope_metric_%d", rule), Label: fmt.Sprintf("Metric %d", rule), Priority: 3 + float64(rule)}
		results[rule].Rule = rule
		for pid := range nodes {
			results[rule].Points = append(results[rule].Points, mapping.Point{
				Topology: mapping.Process, ID: strconv.Itoa(pid + 1), Template: template,
			})
		}
	}
	for n := range 20 {
		applyAll(r, results, n)
		r.Publish(tick(n))
	}
	return r, results
}

// tick returns the time of the n-th sample, as a scrape has it.
func tick(n int) time.Time { return second(n).Add(123 * time.Millisecond) }

// applyAll applies a new sample for every metric of every node.
func applyAll(r *Report, results []mapping.Result, n int) {
	for _, result := range results {
		result.At = tick(n)
		for i := range result.Points {
			// What rates look like: fifteen digits.
			result.Points[i].Value = float64((i*7919+n*104729)%100_000) / 7
		}
		r.Apply(result)
	}
}

// BenchmarkSecond is what a second costs in which all metrics have a new sample: 10 ms
// are one percent of a CPU.
func BenchmarkSecond(b *testing.B) {
	for _, nodes := range []int{100, 1000, 3000} {
		b.Run(fmt.Sprintf("nodes=%d/metrics=5", nodes), func(b *testing.B) {
			r, results := loadedReport(b, nodes, 5)
			b.ReportAllocs()
			n := 20
			for b.Loop() {
				applyAll(r, results, n)
				r.Publish(tick(n))
				n++
			}
			b.StopTimer()
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(memory.HeapAlloc)/1e6, "heap-MB")
			runtime.KeepAlive(r)
		})
	}
}

// BenchmarkPublish publishes a report of 10,000 metrics of which some have a new
// sample: the cost has to follow these.
func BenchmarkPublish(b *testing.B) {
	const nodes = 3334
	for _, changed := range []int{0, 1, 10, 100, 1000, nodes} {
		b.Run(fmt.Sprintf("nodes=%d/changed=%d", nodes, changed), func(b *testing.B) {
			r, results := loadedReport(b, nodes, 3)
			b.ReportAllocs()
			n := 20
			for b.Loop() {
				b.StopTimer()
				for i := range changed {
					p := results[0].Points[i*7919%nodes]
					node := r.nodes[nodeRef{p.Topology, p.ID}]
					node.metrics[0].add(tick(n).UnixNano(), appendDate(nil, tick(n).UnixNano()), float64(n)/7, r.opts)
					node.changed = true
				}
				b.StartTimer()
				r.Publish(tick(20)) // nothing expires
				n++
			}
		})
	}
}

// BenchmarkPoll polls and decodes as the probe does.
func BenchmarkPoll(b *testing.B) {
	for _, metrics := range []int{3, 1000, 10_000} {
		b.Run(fmt.Sprintf("metrics=%d", metrics), func(b *testing.B) {
			r, _ := loadedReport(b, (metrics+2)/3, 3)
			server, client := benchServer(b, r)
			benchPolls(b, server, client)
		})
	}
}

// BenchmarkPollWhilePublishing polls while all of 10,000 metrics change, as often as
// they can.
func BenchmarkPollWhilePublishing(b *testing.B) {
	r, results := loadedReport(b, 3334, 3)
	server, client := benchServer(b, r)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 20; ctx.Err() == nil; n++ {
			applyAll(r, results, n)
			r.Publish(tick(n))
		}
	})
	benchPolls(b, server, client)
	cancel()
	wg.Wait()
}

// benchPolls reports the 99th percentile of whole polls, the mean time that the server
// took, and the mean size of an answer.
func benchPolls(b *testing.B, server *Server, client *probetest.Client) {
	b.Helper()
	b.ReportAllocs()
	var answered time.Duration
	sent, polls := 0, 0
	for b.Loop() {
		n, err := client.Fetch(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		sent += n
		polls++
		answered += server.Pollers()[0].LastDuration
	}
	b.ReportMetric(client.Latency(0.99).Seconds()*1e3, "p99-ms")
	b.ReportMetric(answered.Seconds()*1e3/float64(polls), "server-ms")
	b.ReportMetric(float64(sent)/float64(polls), "bytes")
}

func benchServer(b *testing.B, r *Report) (*Server, *probetest.Client) {
	b.Helper()
	listener, err := Listen(b.TempDir(), "promscope", discard())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := NewServer(r, ServerOptions{}, discard(), nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Run(ctx, listener)
	}()
	newClient := func() *probetest.Client {
		return probetest.NewClient(listener.Path(), probetest.Options{Timeout: 5 * time.Second})
	}
	first, client := newClient(), newClient()
	b.Cleanup(func() {
		client.Close()
		cancel()
		<-done
	})
	// The first poll gets all samples. To the server, both clients are one poller.
	if _, err := first.Fetch(b.Context()); err != nil {
		b.Fatal(err)
	}
	first.Close()
	return server, client
}
