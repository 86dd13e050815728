package request

import "errors"

// Error is why a scrape failed, with a word for it that can be a label. Discovery's requests
// fail by it too.
type Error struct {
	reason string
	err    error
}

// NewError returns err with a word for it. docs/troubleshooting.md has a line for each word.
func NewError(reason string, err error) *Error { return &Error{reason, err} }

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the error without the word.
func (e *Error) Unwrap() error { return e.err }

// Reason returns the word.
func (e *Error) Reason() string { return e.reason }

// Reason returns the word for why a scrape failed; "" if the error has none. An error of
// bridge/exposition brings its own.
func Reason(err error) string {
	if failed, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return failed.Reason()
	}
	return ""
}
