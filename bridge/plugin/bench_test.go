package plugin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/promscope/promscope/mapping"
)

// benchReport returns a report of nodes with three metrics each, all with full
// windows, and the results that made it: one rule for each metric.
func benchReport(tb testing.TB, nodes int) (*Report, []mapping.Result) {
	tb.Helper()
	r := NewReport(options(), templates(), discard(), nil)
	results := make([]mapping.Result, 3)
	for rule := range results {
		template := mapping.Template{ID: fmt.Sprintf("promscope_metric_%d", rule), Label: fmt.Sprintf("Metric %d", rule), Priority: 2.5 + float64(rule)/10}
		results[rule].Rule = rule
		for pid := range nodes {
			results[rule].Points = append(results[rule].Points, mapping.Point{
				Topology: mapping.Process, ID: strconv.Itoa(pid + 1), Template: template,
			})
		}
	}
	for at := range DefaultMaxSamples {
		applyAll(r, results, at)
	}
	r.Publish(tick(DefaultMaxSamples))
	return r, results
}

// tick returns the time of the n-th sample: close to the one before, so that the
// window is full after any number of them.
func tick(n int) time.Time { return start().Add(time.Duration(n) * time.Microsecond) }

// applyAll applies a new sample for every metric of every node.
func applyAll(r *Report, results []mapping.Result, at int) {
	for _, result := range results {
		result.At = tick(at)
		for i := range result.Points {
			// What rates look like: fifteen digits.
			result.Points[i].Value = float64((i*7919+at*104729)%100_000) / 7
		}
		r.Apply(result)
	}
}

func reportSize(b *testing.B, r *Report) {
	b.Helper()
	e := r.edition.Load()
	b.ReportMetric(float64(e.plain.bytes), "plain-bytes")
	b.ReportMetric(float64(e.gzipped.bytes), "gzip-bytes")
}

// BenchmarkEncode encodes and compresses all nodes of a report.
func BenchmarkEncode(b *testing.B) {
	for _, nodes := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			r, _ := benchReport(b, nodes)
			b.ReportAllocs()
			for b.Loop() {
				for _, n := range r.nodes {
					n.touch()
				}
				r.Publish(tick(DefaultMaxSamples))
			}
			reportSize(b, r)
		})
	}
}

// BenchmarkApply takes in new samples without publishing them.
func BenchmarkApply(b *testing.B) {
	const nodes = 3334
	r, results := benchReport(b, nodes)
	b.ReportAllocs()
	at := DefaultMaxSamples
	for b.Loop() {
		applyAll(r, results, at)
		at++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*nodes*len(results)), "ns/point")
}

// BenchmarkPublish publishes a report of 10,000 node metrics of which some have a
// new sample: the cost has to follow these.
func BenchmarkPublish(b *testing.B) {
	const nodes = 3334
	for _, changed := range []int{0, 1, 10, 100, 1000, nodes * 3} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			r, results := benchReport(b, nodes)
			b.ReportAllocs()
			at := DefaultMaxSamples
			for b.Loop() {
				b.StopTimer()
				at++
				r.mu.Lock()
				r.change(results, changed, at)
				r.mu.Unlock()
				b.StartTimer()
				r.Publish(tick(at))
			}
			reportSize(b, r)
		})
	}
}

// change gives so many metrics of nodes that are spread over the report a sample.
func (r *Report) change(results []mapping.Result, n, at int) {
	for i := range n {
		points := results[i%len(results)].Points
		p := points[i/len(results)*7919%len(points)]
		node := r.nodes[nodeRef{p.Topology, p.ID}]
		j, _ := node.find(p.Template.ID)
		node.metrics[j].add(sample{at: tick(at).UnixNano(), value: float64(at*104729%100_000) / 7}, r.opts)
		node.touch()
	}
}

// BenchmarkServe polls over a unix socket as the probe does.
func BenchmarkServe(b *testing.B) {
	for _, metrics := range []int{3, 1000, 10_000} {
		for _, encoding := range []string{"gzip", "identity"} {
			b.Run(fmt.Sprintf("metrics=%d/%s", metrics, encoding), func(b *testing.B) {
				r, _ := benchReport(b, (metrics+2)/3)
				client := benchServer(b, r)
				b.ReportAllocs()
				latencies := make([]time.Duration, 0, 10_000)
				for b.Loop() {
					begin := time.Now()
					poll(b, client, encoding)
					latencies = append(latencies, time.Since(begin))
				}
				b.ReportMetric(quantile(latencies, 0.99), "p99-ns")
				reportSize(b, r)
			})
		}
	}
}

// BenchmarkServeWhilePublishing polls while all of 10,000 node metrics change, as
// often as they can.
func BenchmarkServeWhilePublishing(b *testing.B) {
	r, results := benchReport(b, 3334)
	client := benchServer(b, r)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for at := DefaultMaxSamples + 1; ctx.Err() == nil; at++ {
			applyAll(r, results, at)
			r.Publish(tick(at))
		}
	})
	latencies := make([]time.Duration, 0, 10_000)
	for b.Loop() {
		begin := time.Now()
		poll(b, client, "gzip")
		latencies = append(latencies, time.Since(begin))
	}
	b.ReportMetric(quantile(latencies, 0.99), "p99-ns")
	cancel()
	wg.Wait()
}

func benchServer(b *testing.B, r *Report) *http.Client {
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
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", listener.Path())
		},
	}
	b.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		<-done
	})
	return &http.Client{Transport: transport}
}

func poll(b *testing.B, client *http.Client, encoding string) {
	b.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://plugin/report?api_version=1&probe_id=6befab12ed9aaa96", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", encoding)
	response, err := client.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(response.Status, err)
	}
}

func quantile(latencies []time.Duration, q float64) float64 {
	slices.Sort(latencies)
	return float64(latencies[int(q*float64(len(latencies)-1))])
}
