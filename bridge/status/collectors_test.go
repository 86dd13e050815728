package status

import (
	"errors"
	"testing"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/ebpf/collector"
)

func TestCollectorThatFails(t *testing.T) {
	c := &collectors.Collector{Err: &collector.Error{Reason: "no BTF", Remedy: "another kernel"}}
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
