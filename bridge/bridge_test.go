package bridge

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/config"
)

// A reload that has built its pipeline when promscope ends holds that up for nothing.
func TestReloadWhenStopped(t *testing.T) {
	w := &watched{dir: t.TempDir()}
	w.write(t, "promscope.yml", "")
	b, err := New(Options{Flags: config.Flags{File: filepath.Join(w.dir, "promscope.yml"), PluginsRoot: t.TempDir()}}, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := b.runPipelines(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := b.Reload(); err == nil || err.Error() != "promscope is not running" {
		t.Errorf("reload: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
