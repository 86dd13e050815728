package discovery

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/ebpf/port"
	"github.com/promscope/promscope/mapping/document"
)

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
		if c.asks(port) != want {
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
	want.ExcludePorts = port.Set{{First: 9100, Last: 9100}}
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
