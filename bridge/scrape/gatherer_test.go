package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A counter has one sample of zero, at the first gathering after its creation: not again
// where the clock is set back by a minute, nor when the time of its creation comes again.
func TestBirthsWhenClockIsSetBack(t *testing.T) {
	second := func(s float64) time.Time {
		return time.Unix(1_800_000_000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	g := &gatherer{since: second(97)}
	type counter struct{ appears, created float64 }
	counters := map[string]counter{
		"before":              {99, 98.5},
		"last":                {100, 99.5},
		"between":             {41, 100.2},
		"after":               {46, 45.5},
		"while it is read":    {50, 50.01},
		"not seen at the end": {56, 55.01}, // as a collector says whose gathering before had begun then
	}
	var got []string
	var gathered []float64
	for s := 98.0; s <= 100; s++ {
		gathered = append(gathered, s)
	}
	for s := 41.0; s <= 110; s++ {
		gathered = append(gathered, s)
	}
	there := map[string]bool{}
	for _, s := range gathered {
		family := &dto.MetricFamily{Name: proto.String("c_total"), Type: dto.MetricType_COUNTER.Enum()}
		for name, c := range counters {
			if there[name] = there[name] || s == c.appears; there[name] {
				family.Metric = append(family.Metric, &dto.Metric{
					Label:   []*dto.LabelPair{{Name: proto.String("name"), Value: proto.String(name)}},
					Counter: &dto.Counter{Value: proto.Float64(7), CreatedTimestamp: timestamppb.New(second(c.created))},
				})
			}
		}
		answer, err := g.expose(gatheredAt(second(s), family), second(s))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metricsOf(t, answer.body) {
			if m.Counter.GetValue() == 0 {
				got = append(got, fmt.Sprintf("%v: %s", s, m.Label[0].GetValue()))
			}
		}
	}
	want := []string{"99: before", "100: last", "46: after", "50: while it is read", "56: not seen at the end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples of zero (-want +got):\n%s", diff)
	}
}

// gatheredAt is a gathering that takes 20 ms.
func gatheredAt(at time.Time, families ...*dto.MetricFamily) gathered {
	return gathered{began: at, ended: at.Add(20 * time.Millisecond), families: families}
}

func metricsOf(t *testing.T, body io.Reader) (metrics []*dto.Metric) {
	t.Helper()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for dec := expfmt.NewDecoder(bytes.NewReader(b), expfmt.NewFormat(expfmt.TypeProtoDelim)); ; {
		var family dto.MetricFamily
		if err := dec.Decode(&family); errors.Is(err, io.EOF) {
			return metrics
		} else if err != nil {
			t.Fatal(err)
		}
		metrics = append(metrics, family.Metric...)
	}
}

// What follows a birth has the time of the scrape, though the gathering began a little later: the
// rules are evaluated at that time.
func TestBirthsAtTheScrape(t *testing.T) {
	reg := prometheus.NewRegistry()
	responses := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "promscope_errors_total", Help: "E."}, []string{"code"})
	reg.MustRegister(responses)
	g := newGatherer(InProcess{Gatherer: reg, Interval: time.Second})
	responses.WithLabelValues("500").Add(50)
	due := time.Now().Add(-2 * time.Millisecond).Round(0)
	answer, err := g.scrape(t.Context(), due, nil)
	if err != nil {
		t.Fatal(err)
	}
	metrics := metricsOf(t, answer.body)
	if len(metrics) != 2 || metrics[0].Counter.GetValue() != 0 || metrics[1].Counter.GetValue() != 50 {
		t.Fatalf("exposed are %v, want a zero and then 50", metrics)
	}
	if got := metrics[1].GetTimestampMs(); got != due.UnixMilli() {
		t.Errorf("the sample is of %d, want %d", got, due.UnixMilli())
	}
}
