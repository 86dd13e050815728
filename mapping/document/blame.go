package document

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	wordPattern   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	quotedPattern = regexp.MustCompile(`"((?:[^"\\\\]|\\\\.)+)"`)
)

// Blame returns the part of a node that a message speaks of: the value below
// it that the message quotes, else the last key of the mapping that is a word
// of the message, else the node itself. It places the errors of methods that
// validate a whole struct, and tell no more than this.
func Blame(node *yaml.Node, message string) *yaml.Node {
	for _, quoted := range quotedPattern.FindAllStringSubmatch(message, -1) {
		if value := findScalar(node, quoted[1]); value != nil {
			return value
		}
	}
	words := make(map[string]bool)
	for _, w := range wordPattern.FindAllString(message, -1) {
		words[strings.ToLower(w)] = true
	}
	blamed := node
	for _, e := range entries(Resolve(node)) {
		if words[e.key.Value] {
			blamed = e.key
		}
	}
	return blamed
}

// findScalar returns the first value, not a key, that is the given text.
// It does not follow aliases.
func findScalar(node *yaml.Node, text string) *yaml.Node {
	if node.Kind == yaml.ScalarNode && node.Value == text {
		return node
	}
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if found := findScalar(child, text); found != nil {
			return found
		}
	}
	return nil
}
