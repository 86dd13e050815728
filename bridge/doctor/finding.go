// Package doctor looks at what this machine allows: the kernel, the processes that can be
// seen, and the directory where promscope and Scope's probe meet. Each check makes one
// finding, with the remedy where something is in the way.
package doctor

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/promscope/promscope/bridge/format"
)

// Verdict is what a finding means for promscope.
type Verdict string

// The verdicts, from good to bad. With a warning something does not work as it
// could; with a failure promscope cannot do its job.
const (
	VerdictOK   Verdict = "ok"
	VerdictWarn Verdict = "warn"
	VerdictFail Verdict = "fail"
)

// Finding is one thing that the doctor looked at.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Finding string  `json:"finding"`
	Remedy  string  `json:"remedy,omitempty"`
}

// good is a finding that needs no remedy.
func good(check, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictOK, Finding: fmt.Sprintf(format, args...)}
}

// warning is a finding of something that does not work as it could.
func warning(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictWarn, Finding: fmt.Sprintf(format, args...), Remedy: remedy}
}

// failure is a finding of something that keeps promscope from its job.
func failure(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictFail, Finding: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Diagnosis is all that the doctor found.
type Diagnosis struct {
	Findings []Finding `json:"findings"`
}

// OK tells whether promscope can do its job.
func (d Diagnosis) OK() bool {
	for _, f := range d.Findings {
		if f.Verdict == VerdictFail {
			return false
		}
	}
	return true
}

// WriteText writes the findings as a table, each remedy below its finding.
func (d Diagnosis) WriteText(w io.Writer) error {
	width := 0
	for _, f := range d.Findings {
		width = max(width, len(f.Check))
	}
	out := bufio.NewWriter(w)
	for _, f := range d.Findings {
		indent := strings.Repeat(" ", len("ok    ")+width+2)
		text := strings.ReplaceAll(format.Printable(f.Finding), "\n", "\n"+indent)
		// A bufio.Writer keeps its first error for Flush.
		_, _ = fmt.Fprintf(out, "%-6s%-*s  %s\n", f.Verdict, width, f.Check, text)
		if f.Remedy != "" {
			_, _ = fmt.Fprintf(out, "%s→ %s\n", indent, strings.ReplaceAll(format.Printable(f.Remedy), "\n", "\n"+indent+"  "))
		}
	}
	return out.Flush()
}
