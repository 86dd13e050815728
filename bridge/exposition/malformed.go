package exposition

// malformed is what is wrong with an exposition. Errors of reading its body are of other
// types.
type malformed string

// What a filter finds wrong. The parser finds the rest.
const (
	errBinary   malformed = "body has a NUL byte"
	errFamily   malformed = "malformed protobuf metric family"
	errNoEOF    malformed = "data does not end with # EOF"
	errAfterEOF malformed = "unexpected data after # EOF"
	errUnclosed malformed = "quoted string is not closed"
	errTooLong  malformed = "exposition has a line or family that is too long"
)

// Error implements error.
func (m malformed) Error() string { return string(m) }

// Reason is a word for it that can be a label.
func (malformed) Reason() string { return "parse" }
