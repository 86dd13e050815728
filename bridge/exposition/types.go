package exposition

import (
	"errors"
	"io"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Types returns what the # TYPE lines of a whole text say, by metric.
func Types(text []byte) (map[string]model.MetricType, error) {
	parser, err := textparse.New(text, MediaTypeOf(text), labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	types := map[string]model.MetricType{}
	for {
		entry, err := parser.Next()
		switch {
		case errors.Is(err, io.EOF):
			return types, nil
		case err != nil:
			return nil, err
		case entry == textparse.EntryType:
			metric, kind := parser.Type()
			types[string(metric)] = kind
		}
	}
}
