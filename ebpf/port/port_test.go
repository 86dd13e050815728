package port

import "testing"

func TestRange(t *testing.T) {
	for text, want := range map[string]Range{
		"80": {80, 80}, "1-65535": {1, 65535}, "9090 - 9999": {9090, 9999}, "7-7": {7, 7},
	} {
		if got, err := parseRange(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "-1", "1-", "9-8", "1-2-3", "http", "0x50"} {
		if got, err := parseRange(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	if got := (Range{80, 80}).String() + " " + (Range{1, 2}).String(); got != "80 1-2" {
		t.Errorf("got %q", got)
	}
}

func TestContains(t *testing.T) {
	ports := Set{{80, 80}, {9090, 9099}}
	for number, want := range map[uint16]bool{79: false, 80: true, 81: false, 9089: false, 9090: true, 9099: true, 9100: false} {
		if got := ports.Contains(number); got != want {
			t.Errorf("%d: %v", number, got)
		}
	}
}
