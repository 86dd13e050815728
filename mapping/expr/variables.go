package expr

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// RateIntervals times the scrape interval is $__rate_interval. A rate needs two samples;
// five intervals survive missed scrapes and jitter.
const RateIntervals = 5

// leastMeanWindow is $__mean_interval, where five scrape intervals are not longer: what
// happens each few seconds has a mean or a quantile all the time.
const leastMeanWindow = time.Minute

// RateWindow is what $__rate_interval stands for at a scrape interval.
func RateWindow(interval time.Duration) time.Duration { return RateIntervals * interval }

// meanWindow is what $__mean_interval stands for at a scrape interval.
func meanWindow(interval time.Duration) time.Duration {
	return max(leastMeanWindow, RateWindow(interval))
}

// A VariableError is a variable in an expression that does not exist.
type VariableError struct {
	Name   string
	Offset int // in the expression's text
}

func (e *VariableError) Error() string {
	return "unknown variable " + e.Name
}

// FillVariables puts windows for $__rate_interval and $__mean_interval, as they are at a
// scrape interval. The replacement is padded with spaces, which PromQL allows wherever it
// allows a duration, so that every offset in the result is the same offset in text.
func FillVariables(text string, interval time.Duration) (string, error) {
	var filled strings.Builder
	done := 0
	for i := nextCode(text, 0); i < len(text); i = nextCode(text, i+1) {
		if i < done || text[i] != '$' {
			continue
		}
		name := variableAt(text[i:])
		var window time.Duration
		switch name {
		case "$__rate_interval", "${__rate_interval}":
			window = RateWindow(interval)
		case "$__mean_interval", "${__mean_interval}":
			window = meanWindow(interval)
		default:
			return "", &VariableError{Name: name, Offset: i}
		}
		filled.WriteString(text[done:i])
		fmt.Fprintf(&filled, "%-*s", len(name), model.Duration(window))
		done = i + len(name)
	}
	filled.WriteString(text[done:])
	return filled.String(), nil
}

// variableAt returns the variable at the beginning of text, $ and braces included.
func variableAt(text string) string {
	end := 1
	if strings.HasPrefix(text, "${") {
		if i := strings.IndexByte(text, '}'); i >= 0 {
			return text[:i+1]
		}
	}
	for end < len(text) && IsWord(rune(text[end])) {
		end++
	}
	return text[:end]
}

// nextCode returns the first offset from i on which is neither in a string nor in
// a comment of the PromQL expression, or len(text). The offset i itself must not
// be inside of one.
func nextCode(text string, i int) int {
	for i < len(text) {
		switch c := text[i]; c {
		case '#':
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return len(text)
			}
			i += n
		case '"', '\'', '`':
			i = skipString(text, i)
		default:
			return i
		}
	}
	return len(text)
}

// skipString returns the offset behind the string that begins at i. Strings in
// back quotes know no escapes.
func skipString(text string, i int) int {
	quote := text[i]
	for i++; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return i + 1
		case text[i] == '\\' && quote != '`':
			i++
		}
	}
	return len(text)
}

// FindCode returns the offset of the first token in the expression's code (not in
// a string or comment) from offset from on, or from if there is none.
func FindCode(text string, from int, token string) int {
	for i := nextCode(text, from); i < len(text); i = nextCode(text, i+1) {
		if strings.HasPrefix(text[i:], token) {
			return i
		}
	}
	return from
}

// IsWord reports whether names of labels and metrics may have the character.
func IsWord(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
