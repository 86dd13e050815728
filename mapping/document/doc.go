// Package document reads YAML whose errors know their place.
//
// A Document keeps the text beside the node tree. Every error of syntax, of types or of
// meaning becomes a Diagnostic with file, line, column, the line itself and a caret.
// Decoding is strict, goes on after an error and returns all of them at once. Lines
// are shown without the values of keys that look like a secret's.
package document
