package document

import (
	"encoding"
	"errors"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// functionUnmarshaler is the form that yaml.v2 introduced and Prometheus's
// types still have.
type functionUnmarshaler interface {
	UnmarshalYAML(unmarshal func(any) error) error
}

// unmarshal lets a type decode itself, and returns false if it cannot.
func (dec *decoder) unmarshal(node *yaml.Node, out reflect.Value) bool {
	if !out.CanAddr() {
		return false
	}
	switch u := out.Addr().Interface().(type) {
	case yaml.Unmarshaler:
		dec.reportOwn(node, u.UnmarshalYAML(node))
	case functionUnmarshaler:
		dec.unmarshalFunction(node, u)
	case encoding.TextUnmarshaler:
		if node.Kind != yaml.ScalarNode {
			dec.errorf(node, "expected %s, found %s", expected(out.Type()), describe(node))
			return true
		}
		dec.reportOwn(node, u.UnmarshalText([]byte(node.Value)))
	default:
		return false
	}
	return true
}

// unmarshalFunction runs a type's own method, but does the decoding in it
// here: strictly, and with each error at its place.
func (dec *decoder) unmarshalFunction(node *yaml.Node, u functionUnmarshaler) {
	before := len(dec.found)
	err := u.UnmarshalYAML(func(out any) error {
		dec.found = dec.found[:before] // a type that tries several forms is judged by the last
		dec.decode(node, reflect.ValueOf(out).Elem())
		if len(dec.found) > before {
			return errReported
		}
		return nil
	})
	if len(dec.found) == before {
		dec.reportOwn(node, err)
	}
}

// reportOwn reports what a type itself found wrong with a node.
func (dec *decoder) reportOwn(node *yaml.Node, err error) {
	var list List
	var one Diagnostic
	switch {
	case err == nil:
	case errors.As(err, &list):
		dec.found = append(dec.found, list...)
	case errors.As(err, &one):
		dec.found = append(dec.found, one)
	default:
		dec.errorf(Blame(node, err.Error()), "%s", err)
	}
}

// decodeScalar decodes what needs no more than yaml.v3's own conversions.
func (dec *decoder) decodeScalar(node *yaml.Node, out reflect.Value) {
	if out.CanAddr() && node.Decode(out.Addr().Interface()) == nil {
		return
	}
	found := describe(node)
	if node.Kind == yaml.ScalarNode && out.Kind() != reflect.String {
		found = strconv.Quote(node.Value)
	}
	dec.errorf(node, "expected %s, found %s", expected(out.Type()), found)
}

// expected names what a type takes, for "expected …, found …".
func expected(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return `a duration like "5s"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer, not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a mapping"
	default:
		return "something else"
	}
}
