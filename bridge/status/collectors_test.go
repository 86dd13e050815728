package status

import (
	"errors"
	"testing"

	"github.com/promscope/promscope/bridge/collector"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/ebpf/hook"
)

func TestCollectorThatFails(t *testing.T) {
	c := &collector.Collector{Err: &hook.Error{Reason: "no BTF", Remedy: "another kernel"}}
	w := view.Collector{Hooks: []view.Hook{{Name: "a"}}}
	describe(&w, c)
	if w.State != view.CollectorFailed || w.Error != "no BTF" || w.Remedy != "another kernel" {
		t.Errorf("%+v", w)
	}
	c.Err = errors.New("plain")
	describe(&w, c)
	if w.Error != "plain" || w.Remedy != "" {
		t.Errorf("%+v", w)
	}
}

// Of the hooks that are tried before those that serve it is said why they do not.
func TestKernelHooks(t *testing.T) {
	k := &kernelHooks{}
	k.once.Do(func() { k.refused = map[string]string{"x a": "this kernel has no tracepoint t"} })
	w := view.Collector{Name: "x", Hook: "c", Hooks: []view.Hook{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}}
	k.explain(&w)
	want := []string{"this kernel has no tracepoint t", "the kernel does not load its programs; the log of the start says why", "", ""}
	for i, h := range w.Hooks {
		if h.Error != want[i] {
			t.Errorf("%s: %q, want %q", h.Name, h.Error, want[i])
		}
	}
	here := &kernelHooks{}
	here.once.Do(here.ask) // whatever this kernel says: no panic, no error without hooks
	for name, reason := range here.refused {
		if reason == "" {
			t.Errorf("%s is refused without a reason", name)
		}
	}
}
