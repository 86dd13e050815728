package main

import (
	"math"
	"testing"
	"time"
)

// trend is the line through points by least squares.
type trend struct {
	points int
	mean   float64
	slope  float64 // by second
	span   time.Duration
}

// rise is how much higher the line is at its end than at its begin.
func (t trend) rise() float64 { return t.slope * t.span.Seconds() }

// point is a figure at a time.
type point struct {
	at time.Time
	v  float64
}

// secondHalf returns the trend of the second half of the points by time.
func secondHalf(points []point) trend {
	if len(points) == 0 {
		return trend{}
	}
	begin, end := points[0].at, points[len(points)-1].at
	middle := begin.Add(end.Sub(begin) / 2)
	for len(points) > 0 && points[0].at.Before(middle) {
		points = points[1:]
	}
	n := float64(len(points))
	var sumX, sumY, sumXX, sumXY float64
	for _, p := range points {
		x := p.at.Sub(middle).Seconds()
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+p.v, sumXX+x*x, sumXY+x*p.v
	}
	t := trend{points: len(points), mean: sumY / n, span: end.Sub(middle)}
	if d := n*sumXX - sumX*sumX; d > 0 {
		t.slope = (n*sumXY - sumX*sumY) / d
	}
	return t
}

func TestTrend(t *testing.T) {
	t.Parallel()
	begin := time.Unix(0, 0)
	var leaks, settles []point
	for i := range 101 {
		at, noise := begin.Add(time.Duration(i)*time.Second), float64(i%2)
		leaks = append(leaks, point{at, 100 + 3*float64(i)})
		settles = append(settles, point{at, 50 + float64(min(i, 50)) + noise})
	}
	if got := secondHalf(leaks); got.points != 51 || math.Abs(got.slope-3) > 1e-9 || math.Abs(got.rise()-150) > 1e-6 || math.Abs(got.mean-325) > 1e-9 {
		t.Errorf("of 3 a second: %+v", got)
	}
	if got := secondHalf(settles); math.Abs(got.rise()) > 0.1 {
		t.Errorf("of what grows in the first half only: %+v", got)
	}
}
