package web

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Float is a number that may be NaN or infinite; JSON has it as a string then.
type Float float64

// MarshalJSON implements json.Marshaler.
func (f Float) MarshalJSON() ([]byte, error) {
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(formatFloat(v))
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Float) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	*f = Float(v)
	return err
}

// formatFloat is the number as Prometheus's API writes it.
func formatFloat(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// formatNumber is a number to read: five significant digits.
func formatNumber(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return formatFloat(v)
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

// formatCount is a whole number with its thousands apart.
func formatCount[T int | int64 | uint64](n T) string {
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

// formatMetric is a value as Scope shows it: cut, not rounded, to two decimals.
func formatMetric(format string, v float64) string {
	cut := math.Trunc(v*100) / 100
	switch format {
	case "percent":
		return strconv.FormatFloat(cut, 'f', -1, 64) + "%"
	case "filesize":
		return formatBytes(v)
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

// formatBytes is a size in steps of 1024.
func formatBytes(v float64) string {
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

// formatSeconds is a duration with two or three digits and its unit.
func formatSeconds(seconds float64) string {
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

// formatAgo says how long ago t was.
func formatAgo(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	age := now.Sub(t).Seconds()
	switch {
	case age < -0.05:
		return "in " + formatSeconds(-age)
	case age < 0.05:
		return "now"
	case age < 1:
		return strconv.FormatFloat(age, 'f', 1, 64) + "\u00a0s ago"
	}
	return formatSeconds(age) + " ago"
}

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + many
}

// names returns the labels' names in order, __name__ left out.
func (l Labels) names() []string {
	names := make([]string, 0, len(l))
	for name := range l {
		if name != "__name__" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// String is the series as PromQL would select it.
func (l Labels) String() string {
	var b strings.Builder
	metric := l["__name__"]
	legacy := isMetricName(metric)
	if legacy {
		b.WriteString(metric)
	}
	names := l.names()
	if len(names) == 0 && legacy {
		return b.String()
	}
	b.WriteByte('{')
	comma := false
	if metric != "" && !legacy {
		b.WriteString(strconv.Quote(metric))
		comma = true
	}
	for _, name := range names {
		if comma {
			b.WriteString(", ")
		}
		comma = true
		if isLabelName(name) {
			b.WriteString(name)
		} else {
			b.WriteString(strconv.Quote(name))
		}
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l[name]))
	}
	b.WriteByte('}')
	return b.String()
}

// isMetricName and isLabelName tell names that PromQL takes without quotes.
func isMetricName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool { return r != ':' && !nameRune(r) }) < 0 && (name[0] < '0' || name[0] > '9')
}

func isLabelName(name string) bool { return !strings.Contains(name, ":") && isMetricName(name) }

func nameRune(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
