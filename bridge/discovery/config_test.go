package discovery

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/mapping/document"
)

func TestPortRange(t *testing.T) {
	for text, want := range map[string]PortRange{
		"80": {80, 80}, "1-65535": {1, 65535}, "9090 - 9999": {9090, 9999}, "7-7": {7, 7},
	} {
		if got, err := parsePortRange(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "-1", "1-", "9-8", "1-2-3", "http", "0x50"} {
		if got, err := parsePortRange(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	if got := (PortRange{80, 80}).String() + " " + (PortRange{1, 2}).String(); got != "80 1-2" {
		t.Errorf("got %q", got)
	}
}

func TestPortsContains(t *testing.T) {
	ports := Ports{{80, 80}, {9090, 9099}}
	for port, want := range map[uint16]bool{79: false, 80: true, 81: false, 9089: false, 9090: true, 9099: true, 9100: false} {
		if got := ports.Contains(port); got != want {
			t.Errorf("%d: %v", port, got)
		}
	}
}

func decodeListeners(t *testing.T, text string) (ListenerSDConfig, document.List) {
	t.Helper()
	doc, err := document.Parse("p.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var c ListenerSDConfig
	return c, doc.Decode(doc.Root, &c)
}

func TestListenerSDConfig(t *testing.T) {
	c, list := decodeListeners(t, `
ports: [80, 9090-9092]
exclude_ports: [9091]
comm: {include: [node_.*, redis], exclude: [node_x]}
exe: {exclude: [/usr/lib/.*]}
path: /probe
interval: 10s
`)
	if list != nil {
		t.Fatal(list)
	}
	if c.Path != "/probe" || time.Duration(c.Interval) != 10*time.Second {
		t.Errorf("got %+v", c)
	}
	for port, want := range map[uint16]bool{80: true, 9090: true, 9091: false, 9092: true, 9093: false} {
		if c.Asks(port) != want {
			t.Errorf("port %d is asked: %v", port, !want)
		}
	}
	for _, tt := range []struct {
		comm, exe string
		want      bool
	}{
		{"node_exporter", "/bin/x", true},
		{"redis", "", true},
		{"redis2", "", false},
		{"a_node_exporter", "", false},
		{"node_x", "", false},
		{"redis", "/usr/lib/redis", false},
		{"", "", false},
	} {
		if got := c.admits(tt.comm, tt.exe); got != tt.want {
			t.Errorf("comm %q, exe %q: admitted %v", tt.comm, tt.exe, got)
		}
	}
}

func TestListenerSDConfigDefaults(t *testing.T) {
	c, list := decodeListeners(t, "exclude_ports: [9100]\n")
	if list != nil {
		t.Fatal(list)
	}
	want := defaultListenerSDConfig()
	want.ExcludePorts = Ports{{9100, 9100}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if !c.admits("", "") || !c.admits("anything", "/any") {
		t.Error("a filter that says nothing does not admit all")
	}
}

func TestListenerSDConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"ports: []": "ports must not be empty",
		"{ports: [1-10], exclude_ports: [1-5, 6-10]}": "exclude_ports leaves none",
		"path: metrics":          `path "metrics" does not begin with a slash`,
		"interval: 500ms":        "interval 500ms is shorter than 1s",
		"comm: {exclude: ['(']}": "missing closing )",
		"comm: node":             "expected a mapping",
	} {
		if _, list := decodeListeners(t, text); len(list) != 1 || !strings.Contains(list[0].Message, want) {
			t.Errorf("%s: got %v, want %q", text, list, want)
		}
	}
}
