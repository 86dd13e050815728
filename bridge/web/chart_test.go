package web

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/view"
)

func points(start time.Time, step time.Duration, values ...float64) []view.Point {
	list := make([]view.Point, len(values))
	for i, v := range values {
		list[i] = view.Point{Time: start.Add(time.Duration(i) * step), Value: v}
	}
	return list
}

func TestScale(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		want      string
	}{
		{0, 100, "0 25 50 75 100"},
		{0, 66, "0 20 40 60 80"},
		{3, 9, "0 2.5 5.0 7.5 10.0"},
		{92, 97.3, "92 94 96 98"},
		{0, 0, "0 0.25 0.50 0.75 1.00"},
		{5, 5, "4.50 4.75 5.00 5.25 5.50"},
		{-3, 7, "-5.0 -2.5 0 2.5 5.0 7.5"},
		{-8, -1, "-8 -6 -4 -2 0"},
		{0, 3.2e6, "0 1M 2M 3M 4M"},
		{0, 8.1e9, "0 2.5G 5.0G 7.5G 10.0G"},
		{0, 1700, "0 500 1000 1500 2000"},
		{0, 0.00042, "0 0.0002 0.0004 0.0006"},
		{1e300, 1.5e300, "1e+300 1.2e+300 1.4e+300 1.6e+300"},
	} {
		s := newScale(test.low, test.high)
		var texts []string
		for _, tick := range s.ticks() {
			texts = append(texts, tick.Text)
		}
		if got := strings.Join(texts, " "); got != test.want {
			t.Errorf("from %g to %g: %s, want %s", test.low, test.high, got, test.want)
		}
		if s.at(test.low) < -1e-9 || s.at(test.high) > 1+1e-9 {
			t.Errorf("from %g to %g: the values are not on the axis %+v", test.low, test.high, s)
		}
	}
}

// Whatever the values, the axis is finite, not crowded, and has them on it.
func FuzzScale(f *testing.F) {
	f.Add(0.0, 1.0)
	f.Add(-math.MaxFloat64, math.MaxFloat64)
	f.Add(math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64)
	f.Add(1e308, 1.0000001e308)
	f.Fuzz(func(t *testing.T, low, high float64) {
		if math.IsNaN(low) || math.IsInf(low, 0) || math.IsNaN(high) || math.IsInf(high, 0) || low > high {
			t.Skip()
		}
		if max(math.Abs(low), math.Abs(high)) > largest {
			t.Skip()
		}
		c := newChart([]view.Series{{Points: points(moment, time.Second, low, high)}}, moment, moment.Add(time.Second), 0)
		if c == nil {
			t.Fatalf("from %g to %g: no chart", low, high)
		}
		if n := len(c.Y); n < 2 || n > 13 {
			t.Errorf("from %g to %g: %d ticks", low, high, n)
		}
		for _, number := range regexp.MustCompile(`-?[0-9.e+]+|NaN|Inf`).FindAllString(c.Lines[0].Path, -1) {
			if v, err := strconv.ParseFloat(number, 64); err != nil || !(v >= -1 && v <= plotSize+1) {
				t.Errorf("from %g to %g: %s", low, high, c.Lines[0].Path)
			}
		}
		for _, tick := range c.Y {
			if strings.Contains(tick.At, "N") || strings.Contains(tick.At, "I") {
				t.Errorf("from %g to %g: a tick at %s", low, high, tick.At)
			}
		}
	})
}

func TestPath(t *testing.T) {
	nan := math.NaN()
	for name, test := range map[string]struct {
		values []float64
		gap    time.Duration
		want   string
	}{
		"a line":               {[]float64{0, 1, 0.5}, time.Second, "M0 1000L500 0L1000 500"},
		"NaN tears it":         {[]float64{0, 1, nan, 1, 0}, time.Second, "M0 1000L250 0M750 0L1000 1000"},
		"Inf tears it":         {[]float64{0, 1, math.Inf(1), 1, 0}, time.Second, "M0 1000L250 0M750 0L1000 1000"},
		"a point alone":        {[]float64{0, nan, 1, nan, 0}, time.Second, "M0 1000h0M500 0h0M1000 1000h0"},
		"NaN at the ends":      {[]float64{nan, 0, 1, nan}, time.Second, "M333.3 1000L666.7 0"},
		"too far apart":        {[]float64{0, 1}, time.Second / 2, "M0 1000h0M1000 0h0"},
		"gap worked out":       {[]float64{0, 1, 0}, 0, "M0 1000L500 0L1000 1000"},
		"nothing to be joined": {[]float64{nan, nan, 0, 1}, 0, "M666.7 1000L1000 0"},
	} {
		list := points(moment, time.Second, test.values...)
		c := newChart([]view.Series{{Points: list}}, moment, list[len(list)-1].Time, test.gap)
		if got := c.Lines[0].Path; got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestChart(t *testing.T) {
	if c := newChart([]view.Series{{Points: points(moment, time.Second, math.NaN())}}, moment, moment.Add(time.Minute), 0); c != nil {
		t.Errorf("nothing to draw, but %+v", c)
	}
	var series []view.Series
	for i := range 60 {
		series = append(series, view.Series{Labels: view.Labels{"i": strconv.Itoa(i)}, Points: points(moment, time.Second, float64(i), 1)})
	}
	series[0].Points = append(series[0].Points, view.Point{Time: moment, Histogram: &view.Histogram{}})
	c := newChart(series, moment, moment.Add(2*time.Minute), 0)
	if len(c.Lines) != drawn || c.Hidden != 10 || c.Skipped != 1 {
		t.Errorf("%d lines, %d hidden, %d skipped", len(c.Lines), c.Hidden, c.Skipped)
	}
	if c.Lines[7].Class != "c7" || c.Lines[8].Class != "cx" || c.Lines[3].Title != `{i="3"}` {
		t.Errorf("lines %+v", c.Lines[:9])
	}
	var ticks []string
	for _, tick := range c.X {
		ticks = append(ticks, tick.Text+" "+tick.At)
	}
	if got, want := strings.Join(ticks, ", "), "14:03:30 2.29%, 14:04:00 27.29%, 14:04:30 52.29%, 14:05:00 77.29%"; got != want {
		t.Errorf("ticks %s, want %s", got, want)
	}
}

func TestSpark(t *testing.T) {
	if newSpark(nil) != nil {
		t.Error("a sparkline of nothing")
	}
	one := newSpark([]view.Sample{{Time: moment, Value: 5}})
	if one.Path != "" || one.Area != "" || one.X != "93.5" || one.Y != "2.5" {
		t.Errorf("one sample: %+v", one)
	}
	if zero := newSpark([]view.Sample{{Time: moment, Value: 0}}); zero.Y != "19.5" {
		t.Errorf("a sample of zero: %+v", zero)
	}
	s := newSpark([]view.Sample{{Time: moment, Value: 0}, {Time: moment.Add(time.Second), Value: 10}, {Time: moment.Add(4 * time.Second), Value: 5}})
	if s.Path != "M1 19.5L24.1 2.5L93.5 11" || s.Area != "M1 19.5L24.1 2.5L93.5 11V19.5H1Z" || s.X != "93.5" || s.Y != "11" {
		t.Errorf("three samples: %+v", s)
	}
	if flat := newSpark([]view.Sample{{Time: moment, Value: 0}, {Time: moment.Add(time.Second), Value: 0}}); flat.Path != "M1 19.5L93.5 19.5" {
		t.Errorf("nothing but zeros: %+v", flat)
	}
}
