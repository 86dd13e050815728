// Package view makes what the status pages, the API and promscope explain show out of
// the parts of a pipeline: targets, rules, nodes, queries, and explanations of why
// something is or is not on a node. It takes secrets out of all of it.
package view
