// Package format writes numbers, sizes, times and the text of others for people.
package format

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Float is the number as Prometheus's API writes it.
func Float(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Number is a number to read: five significant digits.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return Float(v)
	case a >= 1e15 || a != 0 && a < 1e-4:
		return strconv.FormatFloat(v, 'g', 4, 64)
	case a >= 10000:
		return group(strconv.FormatFloat(v, 'f', 0, 64))
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1000:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// Count is a whole number with its thousands apart.
func Count[T int | int64 | uint64](n T) string {
	if n < 0 {
		return "-" + group(strconv.FormatInt(int64(-n), 10))
	}
	return group(strconv.FormatUint(uint64(n), 10))
}

// group sets commas between thousands.
func group(digits string) string {
	negative := strings.HasPrefix(digits, "-")
	digits = strings.TrimPrefix(digits, "-")
	var b strings.Builder
	if negative {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Metric is a value as Scope shows it: cut, not rounded, to two decimals.
func Metric(format string, v float64) string {
	cut := math.Trunc(v*100) / 100
	switch format {
	case "percent":
		return strconv.FormatFloat(cut, 'f', -1, 64) + "%"
	case "filesize":
		return Bytes(v)
	case "integer":
		return group(strconv.FormatFloat(v, 'f', 0, 64))
	}
	const steps = "kMGTP"
	if math.Abs(v) < 1100 {
		return strconv.FormatFloat(cut, 'f', -1, 64)
	}
	step := -1
	for math.Abs(v) >= 1000 && step+1 < len(steps) {
		v /= 1000
		step++
	}
	return strconv.FormatFloat(v, 'f', 2, 64) + string(steps[step])
}

// Bytes is a size in steps of 1024.
func Bytes(v float64) string {
	const steps = "KMGTPE"
	if math.Abs(v) < 1024 {
		return strconv.FormatFloat(v, 'f', 0, 64) + "\u00a0B"
	}
	step := -1
	for math.Abs(v) >= 1024 && step+1 < len(steps) {
		v /= 1024
		step++
	}
	decimals := 1
	if math.Abs(v) >= 100 {
		decimals = 0
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + "\u00a0" + string(steps[step]) + "iB"
}

// Seconds is a duration with two or three digits and its unit.
func Seconds(seconds float64) string {
	unit := func(v float64, name string) string {
		decimals := 0
		if v < 10 && v != math.Trunc(v) {
			decimals = 1
		}
		return strconv.FormatFloat(v, 'f', decimals, 64) + "\u00a0" + name
	}
	switch a := math.Abs(seconds); {
	case a == 0:
		return "0\u00a0s"
	case a < 0.9995e-3:
		return unit(seconds*1e6, "µs")
	case a < 0.9995:
		return unit(seconds*1e3, "ms")
	case a < 120:
		return unit(seconds, "s")
	case a < 2*3600:
		return unit(seconds/60, "min")
	case a < 48*3600:
		return unit(seconds/3600, "h")
	}
	return unit(seconds/86400, "d")
}

// Ago says how long ago t was.
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	age := now.Sub(t).Seconds()
	switch {
	case age < -0.05:
		return "in " + Seconds(-age)
	case age < 0.05:
		return "now"
	case age < 1:
		return strconv.FormatFloat(age, 'f', 1, 64) + "\u00a0s ago"
	}
	return Seconds(age) + " ago"
}

// Printable is text without what a terminal would obey instead of showing it, but for
// ends of lines and tabs: names and values of others may be anything.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// Plural is a number with its noun.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}
