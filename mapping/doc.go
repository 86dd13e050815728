// Package mapping turns Prometheus series into metrics of Weave Scope's nodes.
//
// A [Rule] is a PromQL expression and a node mapping: the expression says what
// is measured, the mapping says which label of the result names the node, and
// how Scope is to call and draw the value. Rules come from a configuration, from
// rule files and from the presets embedded in this package; all three are the
// same YAML.
//
// The package works in three steps:
//
//   - [Parse], [LoadFile] and [Preset] check rules as far as that needs no data:
//     syntax, windows that no store can serve, a node label that the expression
//     drops. Diagnostics carry file, line, column and a caret.
//   - [NewSet] puts rules together: collisions, replaced presets, priorities. A
//     [Set] knows the selectors that have to be kept, and for how long, and the
//     metric templates that a report always carries.
//   - [Evaluator] runs the rules of a set with Prometheus's own PromQL engine
//     over any storage.Queryable and maps each element of the result to a [Point]
//     on a node, or counts why it could not.
//
// The package knows Scope's topologies, node ids and metric templates, but
// neither where samples come from nor how a report is served.
package mapping
