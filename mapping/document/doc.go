// Package document reads YAML whose errors know their place.
//
// A Document keeps the text beside the node tree, so that every error, be it
// of syntax, of types or of meaning, is reported as a Diagnostic with file,
// line, column, the line itself and a caret. Decoding is strict, goes on after
// an error and hands back all of them at once. Values of secret-looking keys
// are masked in the lines that are shown.
package document
