package view

import "time"

// Query is a question to the store: at one time if Step is 0 (End, that is),
// else from Start to End in steps.
type Query struct {
	Expr       string
	Start, End time.Time
	Step       time.Duration
}

// QueryErrorKind is Prometheus's errorType.
type QueryErrorKind string

// The kinds of errors a query can have.
const (
	ErrorBadData   QueryErrorKind = "bad_data"  // the expression is wrong
	ErrorExecution QueryErrorKind = "execution" // it is right, but failed
	ErrorTimeout   QueryErrorKind = "timeout"
	ErrorCanceled  QueryErrorKind = "canceled"
	ErrorNotFound  QueryErrorKind = "not_found"
	ErrorInternal  QueryErrorKind = "internal"
)

// QueryError is a query's error with its kind.
type QueryError struct {
	Kind QueryErrorKind
	Err  error
}

func (e *QueryError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *QueryError) Unwrap() error { return e.Err }

// ValueType is PromQL's type of a result.
type ValueType string

// The types of results.
const (
	TypeScalar ValueType = "scalar"
	TypeVector ValueType = "vector"
	TypeMatrix ValueType = "matrix"
	TypeString ValueType = "string"
)

// Result is the answer to a query.
type Result struct {
	Type ValueType
	// Series are the elements: one point each in a vector, one without labels in
	// a scalar, any number in a matrix, none in a string.
	Series   []Series
	String   string
	Warnings []string // of the engine
	Infos    []string
}

// Series is a series of a result.
type Series struct {
	Labels Labels
	Points []Point // ascending
}

// Point is a value of a result, NaN and Inf included, or a native histogram.
type Point struct {
	Time      time.Time
	Value     float64
	Histogram *Histogram // nil for a float
}

// Histogram is a native histogram.
type Histogram struct {
	Count, Sum float64
	Buckets    []Bucket
}

// Bucket is a bucket of a native histogram. Boundaries is Prometheus's code: 0 for
// open left, 1 for open right, 2 for both open, 3 for both closed.
type Bucket struct {
	Boundaries          int
	Lower, Upper, Count float64
}
