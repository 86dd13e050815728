package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/promscope/promscope/mapping/secret"
)

// Position is a place in a file. Line and Column count from 1, columns in
// characters; a zero Line means the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// String returns "file:line:col", or the file alone for the file as a whole.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// compare orders positions by file, line and column.
func (p Position) compare(q Position) int {
	if c := strings.Compare(p.File, q.File); c != 0 {
		return c
	}
	if p.Line != q.Line {
		return p.Line - q.Line
	}
	return p.Column - q.Column
}

// Severity says how bad a thing is.
type Severity int

// An error refuses the document. A warning says what is probably a mistake. A remark
// says what may be meant just so.
const (
	Error Severity = iota
	Warning
	Remark
)

// String returns the word for it: error, warning or remark.
func (s Severity) String() string { return [...]string{"error", "warning", "remark"}[s] }

// Diagnostic is one thing wrong, or doubtful, at one place.
type Diagnostic struct {
	Position

	Severity Severity
	Message  string
	Hint     string // what to do about it; may be empty
	Source   string // the offending line without secrets; may be empty

	// caret is the place of Column within Source, which masking may have
	// moved: in characters, from 0.
	caret int
}

// WithHint returns the diagnostic with the given remedy.
func (d Diagnostic) WithHint(format string, args ...any) Diagnostic {
	d.Hint = secret.Text(fmt.Sprintf(format, args...))
	return d
}

// shownWidth is the most characters of a line that are shown, so that a caret
// in a document of one long line stays readable.
const shownWidth = 140

// Error returns the diagnostic with the offending line, a caret below it and
// the hint, over several lines and without a newline at the end.
func (d Diagnostic) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", d.Position, d.Severity, d.Message)
	if d.Source != "" {
		source, caret := window([]rune(d.Source), d.caret)
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s^", d.Line, string(source), indent(source, caret))
	}
	if d.Hint != "" {
		b.WriteByte('\n')
		b.WriteString(d.Hint)
	}
	return b.String()
}

// window cuts a long line to the part around the caret.
func window(line []rune, caret int) ([]rune, int) {
	caret = min(max(caret, 0), len(line))
	if len(line) <= shownWidth {
		return line, caret
	}
	from := min(max(caret-shownWidth/2, 0), len(line)-shownWidth)
	shown := slices.Clone(line[from : from+shownWidth])
	if from > 0 {
		shown[0] = '…'
	}
	if from+shownWidth < len(line) {
		shown[shownWidth-1] = '…'
	}
	return shown, caret - from
}

// indent returns the blanks that bring a caret under the given character. A tab stays
// a tab, since its width depends on the reader's terminal.
func indent(line []rune, caret int) string {
	pad := make([]rune, caret)
	for i := range pad {
		pad[i] = ' '
		if line[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return string(pad)
}

// List is any number of diagnostics. As an error it prints all of them.
type List []Diagnostic

// Error returns all diagnostics, sorted by position and without repetition.
func (l List) Error() string {
	texts := make([]string, 0, len(l))
	for _, d := range l.Sorted() {
		texts = append(texts, d.Error())
	}
	return strings.Join(texts, "\n")
}

// Sorted returns the diagnostics by file, line and column, each once: what
// stands under an anchor is decoded wherever an alias names it.
func (l List) Sorted() List {
	sorted := slices.Clone(l)
	slices.SortStableFunc(sorted, func(a, b Diagnostic) int { return a.compare(b.Position) })
	return slices.Compact(sorted)
}

// Errors returns the diagnostics that refuse the document.
func (l List) Errors() List { return l.only(Error) }

// Warnings returns those that say what is probably a mistake.
func (l List) Warnings() List { return l.only(Warning) }

func (l List) only(severity Severity) List {
	var out List
	for _, d := range l {
		if d.Severity == severity {
			out = append(out, d)
		}
	}
	return out
}

// Err returns the list's errors as an error, or nil when there is none.
func (l List) Err() error {
	if errs := l.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}
