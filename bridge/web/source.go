package web

import (
	"context"

	"github.com/promscope/promscope/bridge/view"
)

// Source is what the pages and the API are made of. Its methods are called
// concurrently, several for a page, and return values of the caller's own. They
// answer from memory, but for Explain, which may have to ask a target for a series
// that no rule keeps.
type Source interface {
	Status(ctx context.Context) view.Status
	Targets(ctx context.Context) []view.Target
	Rules(ctx context.Context) []view.Rule
	Nodes(ctx context.Context) []view.Node
	Collectors(ctx context.Context) []view.Collector
	Configuration(ctx context.Context) view.Configuration
	Scope(ctx context.Context) view.Scope

	// Query runs PromQL over the store. An error is a *QueryError where the
	// caller shall know whose fault it was.
	Query(ctx context.Context, q view.Query) (view.Result, error)

	// Explain answers why: the subject is a metric, a selector, a rule's name
	// or metric, or a node's key or id. A subject that is none of them yields an
	// Explanation with hints, not an error; errors are for subjects that
	// cannot be parsed.
	Explain(ctx context.Context, subject string) (view.Explanation, error)
}
