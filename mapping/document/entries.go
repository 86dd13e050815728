package document

import "go.yaml.in/yaml/v3"

// entry is a key of a mapping and its value.
type entry struct{ key, value *yaml.Node }

// entries returns what a mapping holds, merge keys resolved: first its own
// entries in their order (a repeated key twice), then the merged ones that it
// does not override.
func entries(node *yaml.Node) []entry {
	merges := maxMerges
	return collect(node, &merges)
}

// maxMerges is how many mappings one may merge, directly or not. It ends
// mappings that merge themselves, and those that double with each line.
const maxMerges = 1000

func collect(node *yaml.Node, merges *int) []entry {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}

	var own, merged []entry
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := Resolve(node.Content[i]), node.Content[i+1]
		if !isMerge(key) {
			own = append(own, entry{key, value})
			seen[key.Value] = true
			continue
		}
		sources := []*yaml.Node{Resolve(value)}
		if sources[0].Kind == yaml.SequenceNode {
			sources = sources[0].Content
		}
		for _, source := range sources {
			if *merges--; *merges >= 0 {
				merged = append(merged, collect(Resolve(source), merges)...)
			}
		}
	}
	for _, e := range merged {
		if !seen[e.key.Value] {
			seen[e.key.Value] = true
			own = append(own, e)
		}
	}
	return own
}

// isMerge reports whether a key is the merge key, "<<" written plainly.
func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge"
}
