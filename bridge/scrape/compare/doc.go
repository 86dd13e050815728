// Package compare measures a whole scrape — request, reading, parsing,
// selecting, appending — against what else does it: Prometheus's own scrape
// manager with a keep relabelling, expfmt's text parser, and fetching the
// same body only to discard it.
//
// It is a module of its own, so that Prometheus's packages do not come into
// promscope's. Its go.mod is made with `go mod tidy -e`: one of Prometheus's
// service discoveries, needed by its tests only, cannot be resolved.
//
//	go test -bench . -benchtime 100x -count 3
package compare
