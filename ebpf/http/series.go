package http

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// series turns slots into metrics. It keeps the label pairs of each slot's process from one
// gather to the next.
type series struct {
	requests    *prometheus.Desc
	sides       [2]side // server, client
	connections *prometheus.Desc
	tracked     *prometheus.Desc
	lostConns   *prometheus.Desc
	lostReqs    *prometheus.Desc
	lostCodes   *prometheus.Desc
	unreadable  *prometheus.Desc
	evictions   *prometheus.Desc
	hook        *prometheus.Desc
	missed      *prometheus.Desc
	runs        *prometheus.Desc
	runTime     *prometheus.Desc

	bounds [bucketBounds]float64 // seconds
	codes  [codeColumns]*dto.LabelPair
	cache  []slotLabels
}

// side is the series of servers, or those of clients.
type side struct {
	requests, responses, duration, inFlight, unanswered, pipelined *prometheus.Desc
}

func (s *side) all() []*prometheus.Desc {
	return []*prometheus.Desc{s.requests, s.responses, s.duration, s.inFlight, s.unanswered, s.pipelined}
}

// slotLabels are the label pairs of the process that holds a slot.
type slotLabels struct {
	epoch  uint32
	raw    [16]byte
	common []*dto.LabelPair // comm, pid
}

func newSeries(slots int) *series {
	s := &series{cache: make([]slotLabels, slots)}
	for i, bound := range bounds() {
		s.bounds[i] = bound.Seconds()
	}
	for i, code := range columnCodes() {
		s.codes[i+1] = codeLabel(strconv.Itoa(code))
	}
	process := []string{"pid", "comm"}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("promscope_http_"+name, help, labels, nil)
	}
	s.sides = [2]side{
		{
			requests:   desc("requests_total", "HTTP requests that the process has answered.", process...),
			responses:  desc("responses_total", "HTTP responses that the process has sent, without interim ones.", "pid", "comm", "code"),
			duration:   desc("request_duration_seconds", "Time from the first byte of a request read to the first byte of its response written.", process...),
			inFlight:   desc("requests_in_flight", "HTTP requests that the process has read and not answered yet.", process...),
			unanswered: desc("requests_unanswered_total", "HTTP requests whose connection ended before they were answered.", process...),
			pipelined:  desc("requests_pipelined_total", "HTTP requests, of those answered, that came together with another on their connection.", process...),
		},
		{
			requests:   desc("client_requests_total", "HTTP requests that the process has sent and that were answered.", process...),
			responses:  desc("client_responses_total", "HTTP responses that the process has received, without interim ones.", "pid", "comm", "code"),
			duration:   desc("client_request_duration_seconds", "Time from the first byte of a request written to the first byte of its response read.", process...),
			inFlight:   desc("client_requests_in_flight", "HTTP requests that the process has sent and that are not answered yet.", process...),
			unanswered: desc("client_requests_unanswered_total", "HTTP requests that the process has sent and whose connection ended before they were answered.", process...),
			pipelined:  desc("client_requests_pipelined_total", "HTTP requests, of those answered, that were sent before the response to the last.", process...),
		},
	}
	s.requests = s.sides[0].requests
	s.connections = desc("connections", "Connections that are tracked.")
	s.tracked = desc("processes", "Processes that are tracked, servers and clients.")
	s.lostConns = desc("connections_lost_total", "Connections that could not be tracked.", "reason")
	s.lostReqs = desc("requests_lost_total", "Requests that were not counted because too many processes are tracked.")
	s.lostCodes = desc("codes_lost_total", `Responses that are counted with code "other" because there are too many rare codes.`)
	s.unreadable = desc("reads_failed_total", "Starts of messages that could not be read.")
	s.evictions = desc("process_evictions_total", "Processes that made room for others.")
	s.hook = desc("hook_info", "Kernel hooks that serve.", "receive", "send")
	s.missed = desc("hook_runs_missed_total", "Events that the kernel did not pass to a program because it was running already.", "program")
	s.runs = desc("hook_runs_total", "Events that a program has run for; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program")
	s.runTime = desc("hook_run_seconds_total", "CPU time that a program has taken; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program")
	return s
}

func codeLabel(code string) *dto.LabelPair {
	return &dto.LabelPair{Name: new("code"), Value: new(code)}
}

func (s *series) describe(ch chan<- *prometheus.Desc) {
	for i := range s.sides {
		for _, d := range s.sides[i].all() {
			ch <- d
		}
	}
	for _, d := range []*prometheus.Desc{
		s.connections, s.tracked, s.lostConns, s.lostReqs, s.lostCodes, s.unreadable, s.evictions, s.hook, s.missed, s.runs, s.runTime,
	} {
		ch <- d
	}
}

// processes returns the series of every process that has answered a request.
// Whether codes were lost tells if some responses are without.
func (s *series) processes(t *table, now time.Duration, codesLost bool) ([]prometheus.Metric, error) {
	var (
		metrics []prometheus.Metric
		sum     sum
		rest    = map[int]uint64{} // by slot: responses whose code has no column
	)
	for _, slot := range t.reported(now) {
		t.read(slot, &sum)
		if sum.responses == 0 {
			continue
		}
		side, labels := s.of(t, slot)
		metrics = append(metrics,
			&sample{side.requests, labels, prometheus.CounterValue, float64(sum.responses)},
			&sample{side.inFlight, labels, prometheus.GaugeValue, float64(sum.inFlight())},
			&sample{side.unanswered, labels, prometheus.CounterValue, float64(sum.Unanswered)},
			&sample{side.pipelined, labels, prometheus.CounterValue, float64(sum.Pipelined)},
			newHistogram(side.duration, labels, &s.bounds, &sum),
		)
		others := sum.responses
		for column, count := range sum.Codes {
			if count > 0 && s.codes[column] != nil {
				metrics = append(metrics, responses(side, s.codes[column], labels, count))
				others -= min(others, count)
			}
		}
		if others > 0 {
			rest[slot] = others
		}
	}
	if len(rest) == 0 {
		return metrics, nil
	}
	// After the columns: what is found here has no other place.
	err := t.maps.rareCodes(func(code rareCode, count uint64) {
		slot := int(code.Slot)
		if rest[slot] == 0 || t.processes[slot].Epoch != code.Epoch {
			return
		}
		side, labels := s.of(t, slot)
		metrics = append(metrics, responses(side, codeLabel(strconv.FormatUint(uint64(code.Code), 10)), labels, count))
		if rest[slot] <= count {
			delete(rest, slot)
		} else {
			rest[slot] -= count
		}
	})
	for slot, count := range rest {
		if !codesLost {
			break // they came between the two readings
		}
		side, labels := s.of(t, slot)
		metrics = append(metrics, responses(side, codeLabel("other"), labels, count))
	}
	return metrics, err
}

func responses(side *side, code *dto.LabelPair, labels []*dto.LabelPair, count uint64) prometheus.Metric {
	sorted := append([]*dto.LabelPair{code}, labels...) // code, comm, pid
	return &sample{side.responses, sorted, prometheus.CounterValue, float64(count)}
}

// of returns the descriptions and the label pairs for the process that holds the slot.
func (s *series) of(t *table, slot int) (*side, []*dto.LabelPair) {
	p := &t.processes[slot]
	return &s.sides[p.Role-roleServer], s.labels(slot, p)
}

// labels returns the label pairs of the process that holds the slot.
func (s *series) labels(slot int, p *process) []*dto.LabelPair {
	c := &s.cache[slot]
	if c.common == nil || c.epoch != p.Epoch || c.raw != p.Comm {
		c.epoch, c.raw = p.Epoch, p.Comm
		c.common = []*dto.LabelPair{
			{Name: new("comm"), Value: new(p.comm())},
			{Name: new("pid"), Value: new(strconv.FormatUint(uint64(p.TGID), 10))},
		}
	}
	return c.common
}

// own returns the collector's series about itself.
func (s *series) own(k *kernel, t *table) ([]prometheus.Metric, error) {
	var (
		metrics []prometheus.Metric
		failed  error
	)
	value := func(desc *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		metrics = append(metrics, prometheus.MustNewConstMetric(desc, kind, v, labels...))
	}
	global := func(desc *prometheus.Desc, kind prometheus.ValueType, name string, labels ...string) {
		n, err := k.counter(name)
		if err != nil {
			failed = err
			return
		}
		value(desc, kind, float64(n), labels...)
	}
	tracked := 0
	for slot := range t.processes {
		if t.processes[slot].Taken != 0 {
			tracked++
		}
	}
	value(s.tracked, prometheus.GaugeValue, float64(tracked))
	value(s.evictions, prometheus.CounterValue, float64(t.evictions))
	value(s.hook, prometheus.GaugeValue, 1, k.hooks.Receive, k.hooks.Send)
	global(s.connections, prometheus.GaugeValue, bpfVarOpenConnections)
	global(s.lostConns, prometheus.CounterValue, bpfVarLostConnectionsLimit, "limit")
	global(s.lostConns, prometheus.CounterValue, bpfVarLostConnectionsMemory, "memory")
	global(s.lostReqs, prometheus.CounterValue, bpfVarLostRequests)
	global(s.lostCodes, prometheus.CounterValue, bpfVarLostCodes)
	global(s.unreadable, prometheus.CounterValue, bpfVarUnreadable)
	for name, program := range k.collection.Programs {
		if name == bpfProgAdopt {
			continue
		}
		stats, err := program.Stats()
		if err != nil {
			failed = err
			continue
		}
		value(s.missed, prometheus.CounterValue, float64(stats.RecursionMisses), name)
		value(s.runs, prometheus.CounterValue, float64(stats.RunCount), name)
		value(s.runTime, prometheus.CounterValue, stats.Runtime.Seconds(), name)
	}
	return metrics, failed
}

// sample is a counter or gauge over label pairs that are ready.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	kind   prometheus.ValueType
	value  float64
}

func (m *sample) Desc() *prometheus.Desc { return m.desc }

func (m *sample) Write(out *dto.Metric) error {
	out.Label = m.labels
	if m.kind == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &m.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &m.value}
	}
	return nil
}

// histogram is a classic one over label pairs that are ready.
type histogram struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	bounds  *[bucketBounds]float64
	buckets [bucketBounds]uint64 // cumulative
	count   uint64
	sum     float64 // seconds
}

func newHistogram(desc *prometheus.Desc, labels []*dto.LabelPair, bounds *[bucketBounds]float64, s *sum) *histogram {
	h := &histogram{desc: desc, labels: labels, bounds: bounds, sum: time.Duration(s.Sum).Seconds()}
	for i, n := range s.Buckets {
		h.count += n
		if i < len(h.buckets) {
			h.buckets[i] = h.count
		}
	}
	return h
}

func (h *histogram) Desc() *prometheus.Desc { return h.desc }

func (h *histogram) Write(out *dto.Metric) error {
	buckets := make([]dto.Bucket, bucketBounds)
	pointers := make([]*dto.Bucket, bucketBounds)
	for i := range buckets {
		buckets[i].UpperBound = &h.bounds[i]
		buckets[i].CumulativeCount = &h.buckets[i]
		pointers[i] = &buckets[i]
	}
	out.Label = h.labels
	out.Histogram = &dto.Histogram{SampleCount: &h.count, SampleSum: &h.sum, Bucket: pointers}
	return nil
}
