package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

const (
	// everythingWindow is how long the servers are looked at: five scrapes.
	everythingWindow = 5 * scrapeInterval

	// mostReportBytes is what a report of all these servers may have.
	mostReportBytes = 100_000
)

// server is a program that runs in TestEverything, and what it says of itself.
type server struct {
	name       string
	topo, node string
	exporter   bool // a helper, whose subject is another process or the host
	program    bool // it says what any program may say, and nothing as a server
	ask        func() (map[string]float64, error)
	want       map[string]expectation // by metric: each is there
	may        map[string]expectation // may be there, depending on the kernel
	rows       map[string]string
}

// moment is what a server says of itself at a time.
type moment struct {
	at   time.Time
	says map[string]float64
}

// account is what a server says of itself each second.
type account []moment

// expectation returns the least and the greatest that a metric may be whose first and last
// samples are of those times. The value of a rate is its mean, that of any other metric is
// its last one.
type expectation struct {
	rate  bool
	value func(says account, from, to time.Time) (least, greatest float64)
}

// TestEverything runs at once, with no configuration, all servers and exporters of the presets
// that are installed, under a steady load. Each metric of each node is what the server itself
// says: nothing is missing, nothing is on another node, and nothing is there that nobody knows
// the truth of, but what the kernel alone knows (unjudged). The pids are those of the machine,
// for the kernel counts by these.
func TestEverything(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork, nodeExporter) {
		return
	}
	servers := startEverything(t)
	p := startPlugin(t, "")
	own := goProgram("promscope", p.process, p.web+"/metrics")
	own.want["promscope_go_goroutines"] = between(20, 1000) // each scrape has some, and looks at processes
	servers = append(servers, own)
	client := probe(t, p)
	began := time.Now()
	within(t, client, began, 2*lookInterval+6*scrapeInterval, "all of them are on their nodes", func(r *probetest.Report) error {
		var missing error
		for _, s := range servers {
			missing = errors.Join(missing, s.missing(r.Topologies[s.topo].Nodes[s.node]))
		}
		return missing
	})

	// Where the machine was too busy for a steady load, the next look counts, and the last one
	// allows for more.
	slacks := []float64{0, 0, 0.1}
	for look, slack := range slacks {
		wrong := followFor(t, client, servers, everythingWindow).compareAll(t, servers, slack)
		if wrong == nil {
			break
		}
		if look == len(slacks)-1 {
			t.Fatal(wrong)
		}
		t.Logf("once more: %v", wrong)
	}
	const turns = 7 // after so many answers, each window was in one
	largest := func() (bytes int) {
		for range turns {
			bytes = max(bytes, len(poll(t, client, 1).Body))
			time.Sleep(time.Second)
		}
		return bytes
	}
	on := largest()
	time.Sleep(4 * time.Second) // a probe that was silent for so long is as good as new
	anew := largest()
	_, said, err := get(t.Context(), p.web+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a report has up to %d bytes for a new probe, %d for one that polls on, %.0f with all samples, and %d processes",
		anew, on, numbers(said, `(promscope_report_bytes\{samples="all"\}) (\S+)`)[`promscope_report_bytes{samples="all"}`],
		len(poll(t, client, 1).Topologies["Process"].Nodes))
	if n := max(on, anew); n > mostReportBytes {
		t.Errorf("a report has %d bytes", n)
	}
}

// most is how many metrics the server's node may show.
func (s server) most() int {
	if s.exporter {
		return mapping.ExporterBudget
	}
	return mapping.Topology(s.topo).Budget()
}

// missing says which metric the server's node lacks. What any program says of itself gives
// way to what the kernel sees of it.
func (s server) missing(node *probetest.Node) error {
	if node == nil {
		return fmt.Errorf("%s has no node", s.name)
	}
	for _, id := range slices.Sorted(maps.Keys(s.want)) {
		gaveWay := s.program && len(node.Metrics) >= s.most()
		if node.Metrics[id] == nil && !gaveWay {
			return fmt.Errorf("%s has no %s", s.name, id)
		}
	}
	return nil
}

// shown is what was reported, as Scope puts it together, and what the servers said meanwhile.
type shown struct {
	last     *probetest.Report
	samples  map[string]map[time.Time]float64 // by path
	accounts []account
}

// followFor polls and asks the servers, each second for that long.
func followFor(t *testing.T, client *probetest.Client, servers []server, long time.Duration) shown {
	t.Helper()
	s := shown{samples: map[string]map[time.Time]float64{}, accounts: make([]account, len(servers))}
	ask := func() {
		for i, server := range servers {
			began := time.Now()
			says, err := server.ask()
			if err != nil {
				t.Fatalf("asking %s: %v", server.name, err)
			}
			s.accounts[i] = append(s.accounts[i], moment{began.Add(time.Since(began) / 2), says})
		}
	}
	ask()
	for began := time.Now(); time.Since(began) < long; time.Sleep(time.Second) {
		s.last = poll(t, client, 1)
		for topo, nodes := range s.last.Topologies {
			for key, node := range nodes.Nodes {
				for id, metric := range node.Metrics {
					path := strings.Join([]string{topo, key, id}, " ")
					if s.samples[path] == nil {
						s.samples[path] = map[time.Time]float64{}
					}
					for _, sample := range metric.Samples {
						if sample.Date.After(began) {
							s.samples[path][sample.Date] = sample.Value
						}
					}
				}
			}
		}
		ask()
	}
	return s
}

// mean returns the mean over time of a metric, its last value, and the times of its first
// and last sample. A value between two samples is that of the later one, which is what
// irate means.
func (s shown) mean(path string) (mean, last float64, from, to time.Time, err error) {
	dates := slices.SortedFunc(maps.Keys(s.samples[path]), time.Time.Compare)
	if len(dates) < 3 {
		return 0, 0, from, to, fmt.Errorf("has %d samples", len(dates))
	}
	for i, date := range dates[1:] {
		last = s.samples[path][date]
		mean += last * date.Sub(dates[i]).Seconds()
	}
	from, to = dates[0], dates[len(dates)-1]
	return mean / to.Sub(from).Seconds(), last, from, to, nil
}

// compareAll returns what is not as the servers say, or on no node of theirs. Slack is the
// share by which a value may be off beyond what is expected.
func (s shown) compareAll(t *testing.T, servers []server, slack float64) error {
	t.Helper()
	var wrong []error
	known := map[string]bool{}
	for i, of := range servers {
		known[of.topo+" "+of.node] = true
		wrong = append(wrong, s.compare(of, s.accounts[i], slack))
	}
	return errors.Join(append(wrong, s.judgeOthers(t, known)...)...)
}

// compare returns what a server's node shows otherwise than the server said.
func (s shown) compare(of server, says account, slack float64) error {
	node := s.last.Topologies[of.topo].Nodes[of.node]
	if node == nil {
		return fmt.Errorf("%s has no node", of.name)
	}
	wrong := []error{of.missing(node)}
	if len(node.Metrics) > of.most() {
		wrong = append(wrong, fmt.Errorf("%s shows %d metrics", of.name, len(node.Metrics)))
	}
	if !maps.Equal(node.Latest, of.rows) {
		wrong = append(wrong, fmt.Errorf("the rows of %s are %v, want %v", of.name, node.Latest, of.rows))
	}
	for _, id := range slices.Sorted(maps.Keys(node.Metrics)) {
		if unjudged()[id] != "" {
			continue
		}
		expected, ok := of.want[id]
		if !ok {
			expected, ok = of.may[id]
		}
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s has %s, of which nobody knows whether it is true", of.name, id))
			continue
		}
		value, last, from, to, err := s.mean(strings.Join([]string{of.topo, of.node, id}, " "))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s of %s %w", id, of.name, err))
			continue
		}
		if !expected.rate {
			value = last
		}
		least, greatest := expected.value(says, from, to)
		if value < least-slack*math.Abs(least) || value > greatest+slack*math.Abs(greatest) {
			wrong = append(wrong, fmt.Errorf("%s of %s is %.4g, and in truth %.4g to %.4g", id, of.name, value, least, greatest))
		}
		if testing.Verbose() {
			fmt.Printf("%-20s %-38s %10.4g    in truth %.4g to %.4g\n", of.name, id, value, least, greatest)
		}
	}
	return errors.Join(wrong...)
}

// increase expects a counter's rate, times a factor, to a hundredth, give or take.
func increase(factor float64, counter string, give float64) expectation {
	return expectation{rate: true, value: func(a account, from, to time.Time) (float64, float64) {
		want := factor * a.gained(counter, from, to) / to.Sub(from).Seconds()
		return want*0.99 - give, want*1.01 + give
	}}
}

// rate is increase of what is steady.
func rate(counter string) expectation { return increase(1, counter, 0.02) }

// ratio expects the quotient of two counters' rates.
func ratio(factor float64, part, whole string, give float64) expectation {
	return expectation{value: func(a account, from, to time.Time) (float64, float64) {
		want := factor * a.gained(part, from, to) / a.gained(whole, from, to)
		return want*0.99 - give, want*1.01 + give
	}}
}

// meanTime expects the mean time, in ms, of what was done. It is a minute's, which may have
// been another than that of the looks: the machine is busy now and then.
func meanTime(ms, done string) expectation {
	return expectation{value: func(a account, from, to time.Time) (float64, float64) {
		want := a.gained(ms, from, to) / a.gained(done, from, to)
		return want / 3, want*3 + 0.1
	}}
}

// level expects a value, as it was about the time of the last sample.
func level(factor float64, name string, give float64) expectation {
	return quotient(factor, name, "", give)
}

// quotient expects the quotient of two values, as they were about the time of the last sample.
func quotient(factor float64, part, whole string, give float64) expectation {
	return expectation{value: func(a account, _, to time.Time) (float64, float64) {
		x, y := a.around(to)
		before, after := factor*x.word(part)/x.word(whole), factor*y.word(part)/y.word(whole)
		return min(before, after)*0.99 - give, max(before, after)*1.01 + give
	}}
}

// between expects a value of which no more is known.
func between(least, greatest float64) expectation {
	return expectation{value: func(account, time.Time, time.Time) (float64, float64) { return least, greatest }}
}

// around returns what the server said last before that time and first after it.
func (a account) around(date time.Time) (before, after moment) {
	i, _ := slices.BinarySearchFunc(a, date, func(m moment, date time.Time) int { return m.at.Compare(date) })
	i = min(max(i, 1), len(a)-1)
	return a[i-1], a[i]
}

// gained returns by how much a counter grew, as if it grew evenly between two moments.
func (a account) gained(counter string, from, to time.Time) float64 {
	at := func(date time.Time) float64 {
		before, after := a.around(date)
		x, y := before.word(counter), after.word(counter)
		return x + (y-x)*date.Sub(before.at).Seconds()/after.at.Sub(before.at).Seconds()
	}
	return at(to) - at(from)
}

// word returns what the server said, and ends the test with a panic if it did not. ""
// stands for 1.
func (m moment) word(name string) float64 {
	if name == "" {
		return 1
	}
	value, ok := m.says[name]
	if !ok {
		panic(fmt.Sprintf("no %s in %v", name, m.says))
	}
	return value
}
