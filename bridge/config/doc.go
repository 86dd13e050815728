// Package config reads promscope's configuration: YAML in, a checked
// [Config] out, or a list of all that is wrong with it, each thing with file,
// line, column, the line itself and a remedy.
//
// Scrape jobs are written as in prometheus.yml, so that a block copied from
// there works. A key that is not supported is refused by name, never ignored.
// Relative file names are relative to the file that they are written in. No
// variable of the environment is put into a value.
//
// docs/configuration.yml is the reference: it holds each key, explained.
package config
