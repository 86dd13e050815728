package document

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Decode reads a node into the value that out points to, strictly: an unknown
// or repeated key, a value of the wrong type and an error of an UnmarshalYAML
// method (of either yaml.v2's or yaml.v3's form) are reported, all at once and
// each at its own node, also within types that have such methods. What the
// node does not mention keeps its value. Fields of type yaml.Node take the node
// as it is. A nil node decodes to nothing.
func (d *Document) Decode(node *yaml.Node, out any) List {
	return d.DecodeWith(node, out, nil)
}

// DecodeWith is Decode with a function that may explain keys which a mapping has and
// its type has not. If ok is false, the usual message is given.
func (d *Document) DecodeWith(node *yaml.Node, out any, unknown func(owner reflect.Type, key string) (message, hint string, ok bool)) List {
	if node == nil {
		return nil
	}
	v := reflect.ValueOf(out)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("document: Decode needs a pointer")
	}
	dec := &decoder{doc: d, unknown: unknown, active: make(map[*yaml.Node]bool)}
	dec.decode(node, v.Elem())
	return dec.found
}

// maxExpanded is how many nodes aliases may add to a document. Without a limit
// a few lines of nested aliases grow to billions of nodes.
const maxExpanded = 100_000

// decoder decodes one node and all below it.
type decoder struct {
	doc     *Document
	unknown func(owner reflect.Type, key string) (message, hint string, ok bool)
	found   List

	active   map[*yaml.Node]bool // alias targets being decoded: one within itself has no end
	expanded int                 // nodes decoded below an alias
}

// errReported is what an UnmarshalYAML method gets to see: the place and the
// reason are in the decoder's list already.
var errReported = errors.New("reported at its own place")

func (dec *decoder) errorf(node *yaml.Node, format string, args ...any) {
	dec.found = append(dec.found, dec.doc.Errorf(node, format, args...))
}

func (dec *decoder) decode(node *yaml.Node, out reflect.Value) {
	if node.Kind == yaml.AliasNode {
		dec.decodeAlias(node, out)
		return
	}
	if len(dec.active) > 0 {
		if dec.expanded++; dec.expanded > maxExpanded {
			if dec.expanded == maxExpanded+1 {
				dec.errorf(node, "the document's aliases expand to more than %d nodes", maxExpanded)
			}
			return
		}
	}
	switch {
	case out.Type() == reflect.TypeFor[yaml.Node]():
		out.Set(reflect.ValueOf(*node))
		return
	case out.Type() == reflect.TypeFor[*yaml.Node]():
		out.Set(reflect.ValueOf(node))
		return
	case isNull(node):
		setNull(out)
		return
	}
	if out.Kind() == reflect.Pointer {
		if out.IsNil() {
			out.Set(reflect.New(out.Type().Elem()))
		}
		dec.decode(node, out.Elem())
		return
	}
	if dec.unmarshal(node, out) {
		return
	}
	switch out.Kind() {
	case reflect.Struct:
		if node.Kind == yaml.MappingNode {
			dec.decodeStruct(node, out)
			return
		}
	case reflect.Map:
		if node.Kind == yaml.MappingNode {
			dec.decodeMap(node, out)
			return
		}
	case reflect.Slice:
		if node.Kind == yaml.SequenceNode {
			dec.decodeSlice(node, out)
			return
		}
	default:
		dec.decodeScalar(node, out)
		return
	}
	dec.errorf(node, "expected %s, found %s", expected(out.Type()), describe(node))
}

func (dec *decoder) decodeAlias(node *yaml.Node, out reflect.Value) {
	target := Resolve(node)
	if dec.active[target] {
		dec.errorf(node, "the anchor %q contains itself", node.Value)
		return
	}
	dec.active[target] = true
	dec.decode(target, out)
	delete(dec.active, target)
}

func (dec *decoder) decodeStruct(node *yaml.Node, out reflect.Value) {
	fields := fieldsOf(out.Type())
	for _, e := range dec.uniqueEntries(node) {
		index, known := fields.byName[e.key.Value]
		switch {
		case e.key.Kind != yaml.ScalarNode:
			dec.errorf(e.key, "expected a key, found %s", describe(e.key))
		case known:
			dec.decode(e.value, fieldAt(out, index))
		case fields.rest != nil:
			dec.decodeEntry(e, fieldAt(out, fields.rest))
		default:
			dec.reportUnknown(e.key, out.Type(), fields.names())
		}
	}
}

func (dec *decoder) decodeMap(node *yaml.Node, out reflect.Value) {
	if out.IsNil() {
		out.Set(reflect.MakeMap(out.Type()))
	}
	for _, e := range dec.uniqueEntries(node) {
		dec.decodeEntry(e, out)
	}
}

func (dec *decoder) decodeEntry(e entry, out reflect.Value) {
	if out.IsNil() {
		out.Set(reflect.MakeMap(out.Type()))
	}
	before := len(dec.found)
	key := reflect.New(out.Type().Key()).Elem()
	dec.decode(e.key, key)
	value := reflect.New(out.Type().Elem()).Elem()
	dec.decode(e.value, value)
	if len(dec.found) == before && key.Comparable() {
		out.SetMapIndex(key, value)
	}
}

func (dec *decoder) decodeSlice(node *yaml.Node, out reflect.Value) {
	slice := reflect.MakeSlice(out.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		if isNull(Resolve(item)) && needsItem(out.Type().Elem()) {
			dec.errorf(item, "empty list item")
			continue
		}
		dec.decode(item, slice.Index(i))
	}
	out.Set(slice)
}

// needsItem reports whether a list of that type has no use for a null.
func needsItem(t reflect.Type) bool {
	if t == reflect.TypeFor[yaml.Node]() || t == reflect.TypeFor[*yaml.Node]() {
		return false
	}
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Struct
}

// uniqueEntries returns a mapping's entries and reports those whose key was
// there before.
func (dec *decoder) uniqueEntries(node *yaml.Node) []entry {
	all := entries(node)
	unique := all[:0:0]
	first := make(map[string]*yaml.Node, len(all))
	for _, e := range all {
		if before, repeated := first[e.key.Value]; repeated && e.key.Kind == yaml.ScalarNode {
			dec.errorf(e.key, "key %q is already set in line %d", e.key.Value, before.Line)
			continue
		}
		first[e.key.Value] = e.key
		unique = append(unique, e)
	}
	return unique
}

// shownKeys is how many known keys the error about an unknown one lists at most.
const shownKeys = 12

func (dec *decoder) reportUnknown(key *yaml.Node, owner reflect.Type, known []string) {
	if dec.unknown != nil {
		if message, hint, ok := dec.unknown(owner, key.Value); ok {
			dec.found = append(dec.found, dec.doc.Errorf(key, "%s", message).WithHint("%s", hint))
			return
		}
	}
	diagnostic := dec.doc.Errorf(key, "unknown key %q", key.Value)
	if meant := Suggest(key.Value, known); meant != "" {
		diagnostic = diagnostic.WithHint("did you mean %q?", meant)
	} else if len(known) > 0 && len(known) <= shownKeys {
		diagnostic = diagnostic.WithHint("known here: %s", strings.Join(known, ", "))
	}
	dec.found = append(dec.found, diagnostic)
}

// setNull does what yaml.v3 does for a null: it resets what can be nil and
// leaves the rest as it is.
func setNull(out reflect.Value) {
	if slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface}, out.Kind()) {
		out.SetZero()
	}
}
