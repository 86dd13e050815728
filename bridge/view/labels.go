package view

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/promscope/promscope/bridge/format"
)

// Names returns the labels' names in order, __name__ left out.
func (l Labels) Names() []string {
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
	names := l.Names()
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

// Float is a number that may be NaN or infinite; JSON has it as a string then.
type Float float64

// MarshalJSON implements json.Marshaler.
func (f Float) MarshalJSON() ([]byte, error) {
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(format.Float(v))
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Float) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	*f = Float(v)
	return err
}
