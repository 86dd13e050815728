package expr

import (
	"errors"
	"testing"
	"time"
)

// FuzzFillVariables: offsets stay what they were, and strings as they are.
func FuzzFillVariables(f *testing.F) {
	for _, text := range []string{
		"rate(x[$__rate_interval])", `x{a="$__rate_interval"}`, "x # $__rate_interval\n+ y", "`$`", `"\"$x"`, "${__rate_interval", "$", "y[$__mean_interval]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filled, err := FillVariables(text, 5*time.Second)
		if err != nil {
			if v := (&VariableError{}); !errors.As(err, &v) || v.Offset >= len(text) || text[v.Offset] != '$' {
				t.Fatalf("%q: error %v", text, err)
			}
			return
		}
		if len(filled) != len(text) {
			t.Fatalf("%q became %q", text, filled)
		}
		for i := range nextCode(text, 0) {
			if filled[i] != text[i] {
				t.Fatalf("%q became %q", text, filled)
			}
		}
	})
}
