package mapping

import (
	"regexp"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

// rawNode is the mapping form of a rule's node.
type rawNode struct {
	Process   string `yaml:"process"`
	Container string `yaml:"container"`
	Pod       string `yaml:"pod"`
	Regex     string `yaml:"regex"`
}

// readNode reads the node mapping: host, or {process: LABEL, regex: REGEX}.
func (r *Rule) readNode(node *yaml.Node) document.List {
	const form = "node is host, {process: LABEL}, {container: LABEL} or {pod: LABEL}, where LABEL holds the id"
	node = document.Resolve(node)
	if node == nil || node.Tag == "!!null" {
		return document.List{r.errorf(nil, "node is missing").WithHint(form)}
	}
	if node.Kind == yaml.ScalarNode {
		switch word := node.Value; word {
		case "host":
			r.Topology = Host
			return nil
		case "process", "container", "pod":
			return document.List{r.errorf(node, "%s needs the label that holds its id", word).
				WithHint("as in node: {%s: LABEL}", word)}
		default:
			d := r.errorf(node, "unknown node %q", word).WithHint(form)
			if s := document.Suggest(word, []string{"host", "process", "container", "pod"}); s != "" {
				d = d.WithHint("did you mean %s?", s)
			}
			return document.List{d}
		}
	}
	if host, _ := document.Entry(node, "host"); host != nil {
		return document.List{r.errorf(host, "host takes no label").WithHint("write node: host")}
	}
	var raw rawNode
	if list := r.doc.Decode(node, &raw); len(list) > 0 {
		return list
	}
	var list document.List
	for _, choice := range []struct {
		topology Topology
		label    string
	}{{Process, raw.Process}, {Container, raw.Container}, {Pod, raw.Pod}} {
		at, value := document.Entry(node, choice.topology.keyword())
		switch {
		case at == nil:
		case r.Topology != "":
			list = append(list, r.errorf(at, "a rule has one node: %s or %s", r.Topology.keyword(), choice.topology.keyword()))
		case !model.UTF8Validation.IsValidLabelName(choice.label):
			list = append(list, r.errorf(value, "%q is not a label name", choice.label))
			r.Topology = choice.topology
		default:
			r.Topology, r.NodeLabel = choice.topology, choice.label
		}
	}
	if r.Topology == "" {
		list = append(list, r.errorf(node, "node names no topology").WithHint(form))
	}
	if at := document.Field(node, "regex"); at != nil {
		re, err := compileWhole(raw.Regex)
		switch {
		case err != nil:
			list = append(list, r.errorf(at, "regex: %v", err))
		case re.NumSubexp() == 0:
			list = append(list, r.errorf(at, "regex has no group").
				WithHint("its first group is the id, as in '.*([0-9a-f]{64}).*'; it has to match the whole value"))
		default:
			r.Regex = &re
		}
	}
	return list
}

// compileWhole compiles a regex that matches whole values, like those of relabelling. An
// error shows the regex as it was written.
func compileWhole(regex string) (relabel.Regexp, error) {
	re, err := relabel.NewRegexp(regex)
	if err != nil {
		if _, plain := regexp.Compile(regex); plain != nil {
			err = plain
		}
	}
	return re, err
}
