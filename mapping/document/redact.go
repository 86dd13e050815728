package document

import "go.yaml.in/yaml/v3"

// Redact hides, in a tree of nodes, all values below keys that look like a
// secret's, the values of HTTP headers, and the passwords of URLs. Sections
// whose key only looks like it (a mapping) are gone through, not hidden.
func Redact(node *yaml.Node) {
	switch node.Kind {
	case yaml.ScalarNode:
		node.Value = maskURLs(node.Value)
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			switch {
			case headersPattern.MatchString(key):
				hideScalars(value)
			case isSecretKey(key) && value.Kind != yaml.MappingNode:
				hideScalars(value)
			default:
				Redact(value)
			}
		}
	default:
		for _, child := range node.Content {
			Redact(child)
		}
	}
}

// hideScalars hides all values below a node, but not the keys.
func hideScalars(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode {
		if node.Value != "" && !isNull(node) {
			node.SetString(secretMask)
		}
		return
	}
	for i, child := range node.Content {
		if node.Kind != yaml.MappingNode || i%2 == 1 {
			hideScalars(child)
		}
	}
}
