package http

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/promscope/promscope/ebpf/load"
)

// series turns what is counted into metrics.
type series struct {
	sides   [2]side            // server, client
	figures []*prometheus.Desc // as ownFigures has them

	bounds [bucketBounds]float64 // seconds
	codes  [codeColumns]*dto.LabelPair

	births births
}

// side is the series of servers, or those of clients.
type side struct {
	requests, responses, duration, inFlight, unanswered, pipelined, unasked *prometheus.Desc

	own *prometheus.Desc // servers only
}

func (s *side) all() []*prometheus.Desc {
	all := []*prometheus.Desc{s.requests, s.responses, s.duration, s.inFlight, s.unanswered, s.pipelined, s.unasked}
	if s.own != nil {
		all = append(all, s.own)
	}
	return all
}

// figure is something that the collector counts of itself.
type figure struct {
	source string // the variable of the programs, or what the collector itself knows
	name   string // of the series
	help   string
	fact   string // as a page names it
	reason string // label, of the series that has one
}

func ownFigures() []figure {
	return []figure{
		{varOpenConnections, "connections", "Connections that are tracked.", "connections", ""},
		{"processes", "processes", "Processes that are tracked, servers and clients.", "processes", ""},
		{"evictions", "process_evictions_total", "Processes that made room for others.", "processes that made room", ""},
		{varLostConnectionsLimit, "connections_lost_total", "Connections that could not be tracked.", "connections lost: too many", "limit"},
		{varLostConnectionsMemory, "connections_lost_total", "Connections that could not be tracked.", "connections lost: no memory", "memory"},
		{varLostRequests, "requests_lost_total", "Requests that were not counted because too many processes are tracked.", "requests lost: too many processes", ""},
		{varLostResponses, "responses_lost_total", "Requests that are not counted because their responses could not be found in what was written.", "requests whose responses were not found", ""},
		{varLostCodes, "codes_lost_total", `Responses that are counted with code "other" because there are too many rare codes.`, "codes lost", ""},
		{varUnreadable, "reads_failed_total", "Starts of messages that could not be read.", "starts of messages not readable", ""},
	}
}

func newSeries() *series {
	s := &series{births: newBirths(time.Now())}
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
			pipelined:  desc("requests_pipelined_total", "HTTP requests, of those answered, that came while another waited on their connection.", process...),
			unasked:    desc("unasked_responses_total", "HTTP responses that the process has sent and that answer no request that was seen.", process...),
			own:        desc("own_requests_total", "HTTP requests of the process that promscope itself has made, or an exporter because promscope scraped it. No other series of servers has them.", process...),
		},
		{
			requests:   desc("client_requests_total", "HTTP requests that the process has sent and that were answered.", process...),
			responses:  desc("client_responses_total", "HTTP responses that the process has received, without interim ones.", "pid", "comm", "code"),
			duration:   desc("client_request_duration_seconds", "Time from the first byte of a request written to the first byte of its response read.", process...),
			inFlight:   desc("client_requests_in_flight", "HTTP requests that the process has sent and that are not answered yet.", process...),
			unanswered: desc("client_requests_unanswered_total", "HTTP requests that the process has sent and whose connection ended before they were answered.", process...),
			pipelined:  desc("client_requests_pipelined_total", "HTTP requests, of those answered, that were sent before the response to the last.", process...),
			unasked:    desc("client_unasked_responses_total", "HTTP responses that the process has received and that answer no request that was seen.", process...),
		},
	}
	for _, f := range ownFigures() {
		var labels []string
		if f.reason != "" {
			labels = []string{"reason"}
		}
		s.figures = append(s.figures, desc(f.name, f.help, labels...))
	}
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
	for i, d := range s.figures {
		if i == 0 || d.String() != s.figures[i-1].String() { // one that has several series
			ch <- d
		}
	}
}

// processes returns the series of every process: of one that has answered no request, those of its own requests and of what it
// has answered unasked. rare has the responses with codes that have no column; whether codes were lost tells if some have no
// code at all.
func (s *series) processes(all []counted, rare func(func(rareCode, *uint64)) error, codesLost bool) ([]prometheus.Metric, error) {
	var (
		metrics []prometheus.Metric
		rest    = map[owner]*uncolumned{}
	)
	for i := range all {
		p := &all[i]
		responses := p.responses()
		side := &s.sides[p.Role-roleServer]
		labels := []*dto.LabelPair{
			{Name: new("comm"), Value: new(load.Comm(p.Comm))},
			{Name: new("pid"), Value: new(strconv.FormatUint(uint64(p.TGID), 10))},
		}
		if p.Own > 0 {
			metrics = append(metrics, counter(side.own, labels, float64(p.Own), s.births.of(p.owner, birthOwn)))
		}
		if p.Unasked > 0 {
			metrics = append(metrics, counter(side.unasked, labels, float64(p.Unasked), s.births.of(p.owner, birthUnasked)))
		}
		if responses == 0 {
			continue
		}
		born := s.births.of(p.owner, birthOfAll)
		metrics = append(metrics,
			counter(side.requests, labels, float64(responses), born),
			&sample{desc: side.inFlight, labels: labels, kind: prometheus.GaugeValue, value: float64(p.inFlight())},
			counter(side.unanswered, labels, float64(p.Unanswered), born),
			counter(side.pipelined, labels, float64(p.Pipelined), born),
			newHistogram(side.duration, labels, &s.bounds, p.process, born),
		)
		for column, count := range p.Codes {
			if count > 0 && s.codes[column] != nil {
				metrics = append(metrics, side.withCode(s.codes[column], labels, count, s.births.of(p.owner, column)))
				responses -= min(responses, count)
			}
		}
		if responses > 0 {
			rest[p.owner] = &uncolumned{side, labels, responses}
		}
	}
	if len(rest) == 0 {
		return metrics, nil
	}
	// After the columns: what is found here has no other place.
	err := rare(func(code rareCode, count *uint64) {
		if u := rest[code.Owner]; u != nil {
			metrics = append(metrics, u.side.withCode(codeLabel(strconv.FormatUint(code.Code, 10)), u.labels, *count, s.births.of(code.Owner, birthOfCodes+int(code.Code))))
			u.responses -= min(u.responses, *count)
		}
	})
	for o, u := range rest {
		// Without a loss they came between the two readings.
		if codesLost && u.responses > 0 {
			metrics = append(metrics, u.side.withCode(codeLabel("other"), u.labels, u.responses, s.births.of(o, birthOther)))
		}
	}
	return metrics, err
}

// uncolumned is the responses of a process whose code has no column.
type uncolumned struct {
	side      *side
	labels    []*dto.LabelPair
	responses uint64
}

func (s *side) withCode(code *dto.LabelPair, labels []*dto.LabelPair, count uint64, born *timestamppb.Timestamp) prometheus.Metric {
	sorted := append([]*dto.LabelPair{code}, labels...) // code, comm, pid
	return counter(s.responses, sorted, float64(count), born)
}

// own returns the collector's series about itself.
func (s *series) own(values map[string]uint64) []prometheus.Metric {
	var metrics []prometheus.Metric
	for i, f := range ownFigures() {
		kind, labels := prometheus.GaugeValue, []string(nil)
		if strings.HasSuffix(f.name, "_total") {
			kind = prometheus.CounterValue
		}
		if f.reason != "" {
			labels = []string{f.reason}
		}
		metrics = append(metrics, prometheus.MustNewConstMetric(s.figures[i], kind, float64(values[f.source]), labels...))
	}
	return metrics
}

// sample is a counter or gauge over label pairs that are ready.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	kind   prometheus.ValueType
	value  float64
	born   *timestamppb.Timestamp // of a counter
}

func counter(desc *prometheus.Desc, labels []*dto.LabelPair, value float64, born *timestamppb.Timestamp) *sample {
	return &sample{desc, labels, prometheus.CounterValue, value, born}
}

func (m *sample) Desc() *prometheus.Desc { return m.desc }

func (m *sample) Write(out *dto.Metric) error {
	out.Label = m.labels
	if m.kind == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &m.value, CreatedTimestamp: m.born}
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
	born    *timestamppb.Timestamp
}

func newHistogram(desc *prometheus.Desc, labels []*dto.LabelPair, bounds *[bucketBounds]float64, p *process, born *timestamppb.Timestamp) *histogram {
	h := &histogram{desc: desc, labels: labels, bounds: bounds, sum: time.Duration(p.Sum).Seconds(), born: born}
	for i, n := range p.Buckets {
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
	out.Histogram = &dto.Histogram{SampleCount: &h.count, SampleSum: &h.sum, Bucket: pointers, CreatedTimestamp: h.born}
	return nil
}
