package web

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
	"github.com/promscope/promscope/bridge/view"
)

// A chart's lines are drawn in a square of this size, which the page stretches
// to the width it has; the texts beside it keep theirs.
const plotSize = 1000

// coloured is how many lines of a chart have a colour of their own. The others
// are grey: a ninth colour could not be told from the first eight.
const coloured = 8

// drawn is how many series a chart has at most.
const drawn = 50

// tick is a mark on an axis: where, in percent of the plot, and what it says.
type tick struct {
	At   string
	Text string
}

// line is one series of a chart.
type line struct {
	Class string // of its colour
	Path  string
	Title string
}

// chart is a line chart over time.
type chart struct {
	Lines  []line
	X, Y   []tick
	Label  string // for those who cannot see it
	Hidden int    // series beyond drawn
	// Skipped is how many points are no numbers that could be drawn.
	Skipped int
}

// lineClass is the style of the i-th series.
func lineClass(i int) string {
	if i >= coloured {
		return "cx"
	}
	return "c" + strconv.Itoa(i)
}

// newChart draws the series between start and end. Points further apart than
// gap are not connected; a gap of 0 is worked out of the points.
func newChart(series []view.Series, start, end time.Time, gap time.Duration) *chart {
	c := &chart{}
	if len(series) > drawn {
		c.Hidden = len(series) - drawn
		series = series[:drawn]
	}
	low, high := math.Inf(1), math.Inf(-1)
	points := 0
	for _, s := range series {
		for _, p := range s.Points {
			if !drawable(p) {
				c.Skipped++
				continue
			}
			low, high = min(low, p.Value), max(high, p.Value)
			points++
		}
	}
	if points == 0 || !end.After(start) {
		return nil
	}
	values := newScale(low, high)
	span := end.Sub(start).Seconds()
	for i, s := range series {
		c.Lines = append(c.Lines, line{
			Class: lineClass(i),
			Title: s.Labels.String(),
			Path: path(s.Points, cmpDuration(gap, spacing(s.Points)), func(p view.Point) (x, y float64) {
				return plotSize * p.Time.Sub(start).Seconds() / span, plotSize * (1 - values.at(p.Value))
			}),
		})
	}
	c.Y = values.ticks()
	c.X = timeTicks(start, end)
	c.Label = format.Plural(len(c.Lines), "series", "series") + " from " + format.Number(low) + " to " + format.Number(high)
	return c
}

// What is drawn is at most largest, and differences below smallest are none, so
// that an axis and its ticks stay within float64.
const (
	largest  = 1e300
	smallest = 1e-290
)

// drawable tells whether a point has a place on a chart.
func drawable(p view.Point) bool {
	return p.Histogram == nil && math.Abs(p.Value) <= largest // not NaN either
}

func cmpDuration(gap, otherwise time.Duration) time.Duration {
	if gap > 0 {
		return gap
	}
	return otherwise
}

// spacing is two and a half times the usual distance of the points: one that
// is missing does not tear the line.
func spacing(points []view.Point) time.Duration {
	if len(points) < 3 {
		return math.MaxInt64
	}
	distances := make([]time.Duration, 0, len(points)-1)
	for i, p := range points[1:] {
		distances = append(distances, p.Time.Sub(points[i].Time))
	}
	slices.Sort(distances)
	return distances[len(distances)/2] * 5 / 2
}

// path is the d attribute of a line through the points, torn where a point is
// missing. A point alone becomes a line of no length, which round caps show as
// a dot.
func path(points []view.Point, gap time.Duration, place func(view.Point) (x, y float64)) string {
	var b strings.Builder
	pen := false // down
	alone := false
	var last time.Time
	for _, p := range points {
		if !drawable(p) || pen && p.Time.Sub(last) > gap {
			if alone {
				b.WriteString("h0")
			}
			pen, alone = false, false
			if !drawable(p) {
				continue
			}
		}
		x, y := place(p)
		if pen {
			b.WriteByte('L')
			alone = false
		} else {
			b.WriteByte('M')
			alone = true
		}
		b.WriteString(coordinate(x))
		b.WriteByte(' ')
		b.WriteString(coordinate(y))
		pen, last = true, p.Time
	}
	if alone {
		b.WriteString("h0")
	}
	return b.String()
}

func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e4)/100, 'f', -1, 64) + "%"
}

// scale is a vertical axis between two round numbers.
type scale struct{ low, high, step float64 }

// newScale returns an axis for values from low to high. It begins at zero
// unless that would flatten the lines.
func newScale(low, high float64) scale {
	if low > 0 && low < 0.6*high {
		low = 0
	}
	if high < 0 && high > 0.6*low {
		high = 0
	}
	if same := max(math.Abs(low), math.Abs(high)) * 1e-9; high-low <= max(same, smallest) {
		room := max(math.Abs(high)*0.1, smallest)
		if high == 0 {
			room = 1
		}
		if low >= 0 {
			low = max(0, low-room)
		} else {
			low -= room
		}
		high += room
	}
	raw := (high - low) / 4
	magnitude := math.Pow(10, math.Floor(math.Log10(raw)))
	step := magnitude * 10
	for _, m := range []float64{1, 2, 2.5, 5} {
		if raw <= m*magnitude*1.0001 {
			step = m * magnitude
			break
		}
	}
	return scale{low: math.Floor(low/step+1e-9) * step, high: math.Ceil(high/step-1e-9) * step, step: step}
}

// at is the share of the axis below v.
func (s scale) at(v float64) float64 { return (v - s.low) / (s.high - s.low) }

func (s scale) ticks() []tick {
	n := int(math.Round((s.high - s.low) / s.step))
	ticks := make([]tick, 0, n+1)
	for i := range n + 1 {
		v := s.low + float64(i)*s.step
		ticks = append(ticks, tick{At: percent(1 - s.at(v)), Text: s.text(v)})
	}
	return ticks
}

// text is a tick's number: all of an axis in the same unit and precision.
func (s scale) text(v float64) string {
	const steps = "kMGTPE"
	end := max(math.Abs(s.low), math.Abs(s.high))
	if end >= 1e21 || end < 1e-5 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	unit, suffix := 1.0, ""
	for i := 0; end >= 10000 && i < len(steps) && end/unit >= 1000; i++ {
		unit *= 1000
		suffix = steps[i : i+1]
	}
	decimals := 0
	for step := s.step / unit; decimals < 9 && math.Abs(step-math.Round(step)) > 1e-6*step; decimals++ {
		step *= 10
	}
	if math.Abs(v) < s.step/2 {
		return "0"
	}
	return strconv.FormatFloat(v/unit, 'f', decimals, 64) + suffix
}

// timeTicks are marks at round times of day.
func timeTicks(start, end time.Time) []tick {
	steps := []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}
	span := end.Sub(start)
	step := steps[len(steps)-1]
	for _, s := range steps {
		if span/s <= 5 {
			step = s
			break
		}
	}
	layout := "15:04:05"
	if step >= time.Minute {
		layout = "15:04"
	}
	var ticks []tick
	for at := start.Truncate(step).Add(step); !at.After(end) && len(ticks) < 8; at = at.Add(step) {
		ticks = append(ticks, tick{At: percent(at.Sub(start).Seconds() / span.Seconds()), Text: at.Format(layout)})
	}
	return ticks
}

// The size of a sparkline.
const (
	sparkWidth  = 96
	sparkHeight = 22
)

// spark is a sparkline: the last samples of a metric, from zero to their
// largest.
type spark struct {
	Path string
	Area string // empty for one sample
	X, Y string // of the last sample
}

func newSpark(samples []view.Sample) *spark {
	if len(samples) == 0 {
		return nil
	}
	points := make([]view.Point, len(samples))
	low, high := 0.0, 0.0
	for i, s := range samples {
		points[i] = view.Point{Time: s.Time, Value: s.Value}
		low, high = min(low, s.Value), max(high, s.Value)
	}
	if high == low {
		high = low + 1
	}
	first, last := samples[0].Time, samples[len(samples)-1].Time
	span := max(last.Sub(first).Seconds(), 1e-9)
	const margin = 2.5 // for the width of the line and the dot
	place := func(p view.Point) (x, y float64) {
		x = 1 + (sparkWidth-1-margin)*p.Time.Sub(first).Seconds()/span
		y = margin + (sparkHeight-2*margin)*(1-(p.Value-low)/(high-low))
		return x, y
	}
	if len(points) == 1 {
		x, y := sparkWidth-margin, margin
		if low < 0 || samples[0].Value == 0 {
			y = sparkHeight - margin
		}
		return &spark{X: coordinate(x), Y: coordinate(y)}
	}
	d := path(points, math.MaxInt64, place)
	x, y := place(points[len(points)-1])
	s := &spark{Path: d, X: coordinate(x), Y: coordinate(y)}
	_, base := place(view.Point{Time: last})
	s.Area = d + "V" + coordinate(base) + "H1Z"
	return s
}
