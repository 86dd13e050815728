package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/ebpf/port"
	"github.com/promscope/promscope/mapping/document"
)

const reference = "../../docs/configuration.yml"

func parseReference(t *testing.T) *document.Document {
	t.Helper()
	content, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := document.Parse(reference, content)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestReferenceLoads(t *testing.T) {
	c, list := Load(reference)
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		// The files of the examples are not there, and there are many rules.
		if !strings.Contains(w.Message, "file") && !strings.Contains(w.Message, "hides behind") {
			t.Errorf("warning: %s", w)
		}
	}
	if len(c.Jobs) == 0 || len(c.Rules.Rules()) == 0 {
		t.Errorf("%d jobs, %d rules", len(c.Jobs), len(c.Rules.Rules()))
	}
}

// What has a default is written with its default.
func TestReferenceShowsDefaults(t *testing.T) {
	doc := parseReference(t)
	var got rawConfig
	if list := doc.Decode(doc.Root, &got); list != nil {
		t.Fatal(list)
	}
	want := defaults()
	wantCollectors := rawCollectors(defaultCollectors())
	gotCollectors := reflect.New(wantCollectors.Type().Elem())
	if list := doc.Decode(document.Field(doc.Root, "collectors"), gotCollectors.Interface()); list != nil {
		t.Fatal(list)
	}
	// These two follow from other keys unless they are given.
	want.Global.ScrapeProtocols = exposition.Protocols()[1:]
	want.Global.MetricNameEscapingScheme = "allow-utf-8"
	for _, section := range []struct{ got, want any }{
		{got.Global, want.Global}, {got.Scope, want.Scope}, {asYAML(t, gotCollectors), asYAML(t, wantCollectors)}, {got.Limits, want.Limits},
	} {
		if diff := cmp.Diff(section.want, section.got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("defaults (-) and reference (+):\n%s", diff)
		}
	}
}

// The reference and the table of docs/discovery.md have the ports that are asked by default.
func TestDefaultPortsAreDocumented(t *testing.T) {
	byDefault, list := Default()
	written, more := Load(reference)
	if err := append(list, more...).Err(); err != nil {
		t.Fatal(err)
	}
	want := byDefault.Jobs[0].Discovery.Listeners[0].Ports
	if diff := cmp.Diff(want, written.Jobs[0].Discovery.Listeners[0].Ports); diff != "" {
		t.Errorf("default ports (-) and reference (+):\n%s", diff)
	}
	page, err := os.ReadFile("../../docs/discovery.md")
	if err != nil {
		t.Fatal(err)
	}
	var table port.Set
	for _, row := range regexp.MustCompile(`(?m)^  \| (\d[-\d, ]*) \|`).FindAllSubmatch(page, -1) {
		for text := range strings.SplitSeq(string(row[1]), ", ") {
			var r port.Range
			if err := r.UnmarshalText([]byte(text)); err != nil {
				t.Fatal(err)
			}
			table = append(table, r)
		}
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("default ports (-) and docs/discovery.md (+):\n%s", diff)
	}
}

func asYAML(t *testing.T, v reflect.Value) string {
	t.Helper()
	text, err := yaml.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keyUse is a key of a type.
type keyUse struct {
	owner reflect.Type
	key   string
}

// notInReference are keys that exist in types of Prometheus, but not here.
func notInReference() []string {
	return []string{"username_ref", "password_ref", "credentials_ref", "ca_ref", "cert_ref", "key_ref", "client_secret_ref", "client_certificate_key_ref"}
}

func TestReferenceHasEveryKeyExplained(t *testing.T) {
	doc := parseReference(t)
	explained := make(map[keyUse]bool)
	visit(doc.Root, reflect.TypeFor[rawConfig](), explained)
	for _, job := range document.Field(doc.Root, "scrape_configs").Content {
		visit(job, reflect.TypeFor[rawJob](), explained)
	}

	collectors := rawCollectors(defaultCollectors()).Type().Elem()
	visit(document.Field(doc.Root, "collectors"), collectors, explained)

	for _, use := range keysOf(reflect.TypeFor[rawConfig](), reflect.TypeFor[rawJob](), collectors) {
		if slices.Contains(notInReference(), use.key) {
			continue
		}
		switch ok, there := explained[use]; {
		case !there:
			t.Errorf("%s of %s is missing", use.key, use.owner)
		case !ok:
			t.Errorf("%s of %s is not explained", use.key, use.owner)
		}
	}
	for _, key := range []string{"metric", "label", "format", "max", "priority", "expr", "node", "process", "container", "pod", "regex"} {
		if !hasExplainedKey(document.Field(doc.Root, "rules"), key) {
			t.Errorf("%s of a rule is missing or not explained", key)
		}
	}
}

// visit notes the keys below a node by the types that they decode to, and
// whether a comment stands at them.
func visit(node *yaml.Node, t reflect.Type, explained map[keyUse]bool) {
	t, node = elem(t), document.Resolve(node)
	switch node.Kind {
	case yaml.SequenceNode:
		for _, item := range node.Content {
			visit(item, t, explained)
		}
	case yaml.MappingNode:
		if t.Kind() != reflect.Struct {
			return
		}
		types := keyTypes(t)
		for i := 0; i < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if field, ok := types[key.Value]; ok {
				use := keyUse{field.owner, key.Value}
				explained[use] = explained[use] || isExplained(key, value)
				visit(value, field.value, explained)
			}
		}
	default:
	}
}

func isExplained(key, value *yaml.Node) bool {
	for value.Kind == yaml.SequenceNode && len(value.Content) > 0 && value.Style&yaml.FlowStyle == 0 {
		value = value.Content[0]
	}
	return key.HeadComment+key.LineComment+value.LineComment != ""
}

func hasExplainedKey(node *yaml.Node, key string) bool {
	if k, v := document.Entry(node, key); k != nil && isExplained(k, v) {
		return true
	}
	return slices.ContainsFunc(node.Content, func(child *yaml.Node) bool { return hasExplainedKey(child, key) })
}

// keysOf returns all keys of the types and of those below them.
func keysOf(roots ...reflect.Type) []keyUse {
	var uses []keyUse
	seen := make(map[reflect.Type]bool)
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t = elem(t); t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for key, field := range keyTypes(t) {
			uses = append(uses, keyUse{field.owner, key})
			walk(field.value)
		}
	}
	for _, root := range roots {
		walk(root)
	}
	return uses
}

// elem goes through pointers, lists and maps.
func elem(t reflect.Type) reflect.Type {
	for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, t.Kind()) {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[targetgroup.Group]():
		return reflect.TypeFor[struct {
			Targets []string          `yaml:"targets"`
			Labels  map[string]string `yaml:"labels"`
		}]()
	case reflect.TypeFor[config.URL](), reflect.TypeFor[yaml.Node]():
		return reflect.TypeFor[string]()
	}
	return t
}

// keyType is the type of a key's value and the struct that declares the key.
type keyType struct{ owner, value reflect.Type }

// keyTypes returns the keys of a struct, those of inlined structs too: these
// count as explained wherever one of the structs they are inlined into is.
func keyTypes(t reflect.Type) map[string]keyType {
	types := make(map[string]keyType)
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case !field.IsExported() || name == "-":
		case strings.Contains(options, "inline") && field.Type.Kind() == reflect.Struct:
			maps.Copy(types, keyTypes(field.Type))
		case name != "":
			types[name] = keyType{t, field.Type}
		}
	}
	return types
}
