package document

import (
	"reflect"
	"slices"
	"strings"
)

// structFields is how a struct looks to YAML.
type structFields struct {
	byName map[string][]int // key → index path, through inlined structs
	rest   []int            // the inlined map that takes all other keys, or nil
}

// fieldsOf reads a struct's yaml tags, as yaml.v2 and yaml.v3 do.
func fieldsOf(t reflect.Type) structFields {
	fields := structFields{byName: make(map[string][]int)}
	fields.add(t, nil)
	return fields
}

func (f *structFields) add(t reflect.Type, path []int) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "-" || (!field.IsExported() && !field.Anonymous) {
			continue
		}
		index := append(slices.Clone(path), i)
		if slices.Contains(strings.Split(options, ","), "inline") {
			inlined := field.Type
			if inlined.Kind() == reflect.Pointer {
				inlined = inlined.Elem()
			}
			if inlined.Kind() == reflect.Map {
				f.rest = index
				continue
			}
			f.add(inlined, index)
			continue
		}
		if !field.IsExported() {
			continue
		}
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		if _, taken := f.byName[name]; !taken {
			f.byName[name] = index
		}
	}
}

// names returns the keys, sorted.
func (f *structFields) names() []string {
	names := make([]string, 0, len(f.byName))
	for name := range f.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fieldAt is reflect.Value.FieldByIndex that allocates what inlined pointers
// lack.
func fieldAt(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v
}
