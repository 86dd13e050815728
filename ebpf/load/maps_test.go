package load

import "testing"

func TestComm(t *testing.T) {
	for raw, want := range map[[16]byte]string{
		{'n', 'g', 'i', 'n', 'x'}: "nginx",
		{'a', 0xff, 'b'}:          "a�b",
	} {
		if got := Comm(raw); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
}
