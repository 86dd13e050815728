package mapping

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// A pattern that is accepted is what was written, has the label's value wherever its name
// stands, and can be what it expands to. An error points into the text.
func FuzzPattern(f *testing.F) {
	f.Add("Disk ${device} busy", "device", "sda")
	f.Add("${a}${b}${a}", "a", "${b}")
	f.Add("x_${", "a", "b")
	f.Add("${}$", "a", "b")
	f.Add("${ä.b} of $ä", "ä.b", "a\nb")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		p, offset, err := parsePattern(text)
		if err != nil {
			if offset < 0 || !strings.HasPrefix(text[offset:], "${") {
				t.Errorf("%q: the error is at %d: %v", text, offset, err)
			}
			return
		}
		if p.String() != text {
			t.Errorf("%q became %q", text, p)
		}
		want := text
		for _, n := range p.labelNames() {
			if n != name {
				want = strings.ReplaceAll(want, "${"+n+"}", "")
			}
		}
		want = strings.ReplaceAll(want, "${"+name+"}", value)
		got := p.expand(labels.FromStrings(name, value), func(s string) string { return s })
		// What is left when a name is taken out may be a name again.
		if strings.Count(text, "${") == strings.Count(text, "${"+name+"}") && got != want {
			t.Errorf("%q is %q with %s=%q, want %q", text, got, name, value, want)
		}
		for _, shown := range []string{got, p.expand(labels.FromStrings(name, value), idPart), p.expand(labels.FromStrings(name, value), labelPart)} {
			if !p.canBe(shown) {
				t.Errorf("%q cannot be %q, which it is", text, shown)
			}
		}
	})
}
