package probetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A report is first read into a tree which keeps what encoding/json would gloss
// over: the case of keys, keys that come twice, and null. A tree's values are
// object, array, string, json.Number, bool and nil.
type (
	object []field
	array  []any
	field  struct {
		key   string
		value any
	}
)

// parse reads one JSON value, which must be all there is.
func parse(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	tree, err := parseValue(decoder)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("is not valid JSON: %w", err)
	}
	if rest := body[decoder.InputOffset():]; len(rest) > 0 {
		return tree, fmt.Errorf("has %d bytes after the last }, for which the probe dials anew each second: %q", len(rest), rest[:min(len(rest), 16)])
	}
	return tree, nil
}

func parseValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		var o object
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			o = append(o, field{key.(string), value})
		}
		_, err := decoder.Token()
		return o, err
	case json.Delim('['):
		var a array
		for decoder.More() {
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			a = append(a, value)
		}
		_, err := decoder.Token()
		return a, err
	}
	return token, nil
}

// reader reads a tree and takes note of what is not as it should be.
type reader struct{ violations }

// object calls each once per key, and complains of keys that come twice.
func (r *reader) object(path string, value any, each func(key string, value any)) {
	o, ok := value.(object)
	if !ok {
		r.mismatch(path, "an object", value)
		return
	}
	seen := make(map[string]struct{}, len(o))
	for _, f := range o {
		if _, twice := seen[f.key]; twice {
			r.add(join(path, f.key), "key comes twice")
			continue
		}
		seen[f.key] = struct{}{}
		each(f.key, f.value)
	}
}

// fields is object for keys that are known beforehand.
func (r *reader) fields(path string, value any, known map[string]func(path string, value any)) {
	r.object(path, value, func(key string, value any) {
		if read, found := known[key]; found {
			read(join(path, key), value)
			return
		}
		for other := range known {
			if strings.EqualFold(other, key) {
				r.add(join(path, key), "unknown key, skipped silently by Scope: it would read %q", other)
				return
			}
		}
		r.add(join(path, key), "unknown key, skipped silently by Scope")
	})
}

func (r *reader) array(path string, value any, each func(path string, value any)) {
	a, ok := value.(array)
	if !ok {
		r.mismatch(path, "an array", value)
		return
	}
	for i, element := range a {
		each(fmt.Sprintf("%s[%d]", path, i), element)
	}
}

func (r *reader) string(path string, value any) string {
	s, ok := value.(string)
	if !ok {
		r.mismatch(path, "a string", value)
	}
	return s
}

func (r *reader) number(path string, value any) float64 {
	n, ok := value.(json.Number)
	if !ok {
		r.mismatch(path, "a number", value)
		return 0
	}
	v, err := n.Float64()
	if err != nil {
		r.add(path, "%s is beyond what a number can be", n)
	}
	return v
}

func (r *reader) mismatch(path, want string, value any) {
	if value == nil {
		r.add(path, "is null, which Scope takes for a real 0 or nothing; want %s", want)
		return
	}
	r.add(path, "want %s", want)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "/" + key
}
