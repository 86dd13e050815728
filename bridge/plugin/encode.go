package plugin

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/promscope/promscope/mapping"
)

// The report is written by hand, in parts that are encoded at different times. All
// append functions return valid JSON, or a part of it, for any input.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. As with encoding/json, bytes that are not
// UTF-8 become U+FFFD.
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
	dst = appendTemplates(dst, templates, false)
	if slices.ContainsFunc(templates, func(t *mapping.Template) bool { return t.Row }) {
		dst = append(dst, `},"metadata_templates":{`...)
		dst = appendTemplates(dst, templates, true)
	}
	return append(dst, `},"nodes":{`...)
}

// appendTemplates appends the templates of metrics, or those of rows.
func appendTemplates(dst []byte, templates []*mapping.Template, rows bool) []byte {
	first := true
	for _, template := range templates {
		if template.Row != rows {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = appendTemplate(dst, template), false
	}
	return dst
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
	if t.Row {
		dst = append(dst, `,"from":"latest"`...)
	}
	dst = append(dst, `,"priority":`...)
	dst = appendNumber(dst, t.Priority)
	return append(dst, '}')
}

// appendNode appends a comma and a node up to its first metric. It has neither "id"
// nor "topology": with them the probe's own node of that key would be hidden or
// doubled.
func appendNode(dst []byte, key string) []byte {
	dst = append(dst, ',')
	dst = appendString(dst, key)
	return append(dst, `:{"metrics":{`...)
}

// appendRows appends the rows of a node, if it has some, and the node's end.
func appendRows(dst []byte, rows []publishedRow) []byte {
	for i, row := range rows {
		if i == 0 {
			dst = append(dst, `,"latest":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendString(dst, row.template.ID)
		dst = append(dst, `:{"timestamp":`...)
		dst = appendDate(dst, row.at)
		dst = append(dst, `,"value":`...)
		dst = appendString(dst, row.text)
		dst = append(dst, '}')
	}
	if len(rows) > 0 {
		dst = append(dst, rowsEnd...)
	}
	return append(dst, nodeEnd...)
}

// appendMetric appends a comma and a metric up to its first sample.
func appendMetric(dst []byte, id string, least, greatest float64) []byte {
	dst = append(dst, ',')
	dst = appendString(dst, id)
	dst = append(dst, `:{"min":`...)
	dst = appendNumber(dst, least)
	dst = append(dst, `,"max":`...)
	dst = appendNumber(dst, greatest)
	return append(dst, `,"samples":[`...)
}

// appendSample appends a comma and a sample. date is JSON.
func appendSample(dst, date []byte, value float64) []byte {
	dst = append(dst, `,{"date":`...)
	dst = append(dst, date...)
	dst = append(dst, `,"value":`...)
	dst = appendNumber(dst, value)
	return append(dst, '}')
}
