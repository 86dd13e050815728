package plugin

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/promscope/promscope/mapping"
)

// The report is written by hand: it is most of what promscope computes each
// second, and its shape never changes. All append functions return valid JSON for
// whatever they are given.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. What is no UTF-8 becomes U+FFFD, which
// is what encoding/json makes of it too.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // of what has not been appended yet
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendNumber appends v, which is finite, in the shortest form that reads back as
// the same number.
func appendNumber(dst []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}

// appendDate appends nanoseconds since the epoch as a JSON string.
func appendDate(dst []byte, at int64) []byte {
	dst = append(dst, '"')
	dst = time.Unix(0, at).UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// appendOpening appends the report's beginning: the Plugins section, with its one
// plugin. The interface "controller" is not claimed; with it the probe would
// overwrite the controls of every node in the report.
func appendOpening(dst []byte, opts Options) []byte {
	dst = append(dst, `{"Plugins":[{"id":`...)
	dst = appendString(dst, opts.ID)
	dst = append(dst, `,"label":`...)
	dst = appendString(dst, opts.Label)
	dst = append(dst, `,"description":`...)
	dst = appendString(dst, opts.Description)
	return append(dst, `,"interfaces":["reporter"],"api_version":"1"}]`...)
}

// appendTopology appends a topology up to its first node.
func appendTopology(dst []byte, t mapping.Topology, templates []*mapping.Template) []byte {
	dst = append(dst, ',')
	dst = appendString(dst, string(t))
	dst = append(dst, `:{"metric_templates":{`...)
	for i, template := range templates {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTemplate(dst, template)
	}
	return append(dst, `},"nodes":{`...)
}

func appendTemplate(dst []byte, t *mapping.Template) []byte {
	dst = appendString(dst, t.ID)
	dst = append(dst, `:{"id":`...)
	dst = appendString(dst, t.ID)
	dst = append(dst, `,"label":`...)
	dst = appendString(dst, t.Label)
	if t.Format != mapping.FormatNumber {
		dst = append(dst, `,"format":`...)
		dst = appendString(dst, string(t.Format))
	}
	dst = append(dst, `,"priority":`...)
	dst = appendNumber(dst, t.Priority)
	return append(dst, '}')
}

// appendNode appends a node under its key. It has neither "id" nor "topology":
// with them the probe's own node of that key would be hidden or doubled.
func appendNode(dst []byte, key string, metrics []*metric) []byte {
	dst = appendString(dst, key)
	dst = append(dst, `:{"metrics":{`...)
	for i, m := range metrics {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMetric(dst, m)
	}
	return append(dst, `}}`...)
}

func appendMetric(dst []byte, m *metric) []byte {
	dst = appendString(dst, m.template.ID)
	dst = append(dst, `:{"min":`...)
	dst = appendNumber(dst, m.least)
	dst = append(dst, `,"max":`...)
	dst = appendNumber(dst, m.ceiling())
	dst = append(dst, `,"samples":[`...)
	for i, s := range m.samples {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"date":`...)
		dst = appendDate(dst, s.at)
		dst = append(dst, `,"value":`...)
		dst = appendNumber(dst, s.value)
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}
