package probetest

import (
	"fmt"
	"strings"
)

// Violation is one breach of the plugin contract.
type Violation struct {
	Path    string // in the report, as "Host/nodes/vm;<host>/metrics"; "" for the whole
	Problem string
}

func (v Violation) String() string {
	if v.Path == "" {
		return v.Problem
	}
	return v.Path + ": " + v.Problem
}

// Error is all that a poll has shown to be wrong.
type Error struct{ Violations []Violation }

func (e *Error) Error() string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		lines[i] = v.String()
	}
	return strings.Join(lines, "\n")
}

// violations collects breaches.
type violations []Violation

// err returns the violations as an error, nil if there are none.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	return &Error{Violations: v}
}

func (v *violations) add(path, format string, args ...any) {
	*v = append(*v, Violation{Path: path, Problem: fmt.Sprintf(format, args...)})
}
