package bridge

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/scrape"
)

// watched is a promscope whose pipelines do not run, and the files of its configuration.
type watched struct {
	*Bridge
	dir     string
	during  func() // the next swap
	reloads int
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{dir: t.TempDir(), during: func() {}}
	if err := os.Mkdir(filepath.Join(w.dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(t, "promscope.yml", "")
	var err error
	w.Bridge, err = New(Options{Flags: config.Flags{File: filepath.Join(w.dir, "promscope.yml"), PluginsRoot: t.TempDir()}}, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for next := range w.next {
			_ = w.runtime.Pipeline().Close()
			w.runtime.Use(next.pipeline)
			w.during()
			w.during = func() {}
			w.reloads++
			close(next.done)
		}
	}()
	t.Cleanup(func() {
		close(w.next)
		<-ended
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// write writes a file of the configuration. The main one says where the others are.
func (w *watched) write(t *testing.T, name, text string) {
	t.Helper()
	if name == "promscope.yml" {
		text = "rule_files: [rules/*.yml]\nscrape_configs: []\npresets: []\ncollectors:\n" + text
		for _, d := range collectors.Definitions() {
			text = strings.Replace(text, "collectors:\n", "collectors:\n  "+d.Name+": {enabled: false}\n", 1)
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const loadRule = "rules: [{metric: load, label: Load, expr: node_load1, node: host}]\n"

// What is written while a reload goes on is loaded by the next one.
func TestChangeDuringReload(t *testing.T) {
	w := newWatched(t)
	w.during = func() { w.write(t, "rules/x.yml", loadRule) }
	w.write(t, "promscope.yml", "scope: {label: Metrics}\n")
	w.reloadChanged()
	w.reloadChanged()
	if cfg := w.runtime.Pipeline().Config; cfg.Scope.Label != "Metrics" || len(cfg.Rules.Rules()) != 1 {
		t.Errorf("in force is\n%s", cfg)
	}
	w.reloadChanged()
	if w.reloads != 2 {
		t.Errorf("%d reloads for two changes", w.reloads)
	}
}

// A change that somebody asked to load is not loaded again, nor is one that was refused.
func TestReloadedOnce(t *testing.T) {
	w := newWatched(t)
	w.reloadChanged()
	w.write(t, "rules/x.yml", loadRule)
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.reloadChanged()
	if w.reloads != 1 {
		t.Errorf("%d reloads for one change", w.reloads)
	}
	w.write(t, "rules/x.yml", "rules: [{}]\n")
	if err := w.Reload(); err == nil {
		t.Fatal("a rule without anything is no error")
	}
	refused := w.loads.state().Tried
	w.reloadChanged()
	if tried := w.loads.state().Tried; !tried.Equal(refused) {
		t.Error("what was refused is tried again")
	}
	w.write(t, "rules/x.yml", loadRule+"# mended\n")
	w.reloadChanged()
	if w.loads.state().Err != nil || w.reloads != 2 {
		t.Errorf("after the mend there were %d reloads: %v", w.reloads, w.loads.state().Err)
	}
}

// A reload leaves a target alone whose job is as it was, also while its discovery fails.
func TestReloadKeepsTargets(t *testing.T) {
	w := &watched{dir: t.TempDir()}
	w.write(t, "targets.json", `[{"targets": ["127.0.0.1:1"]}]`)
	load := func(label string) {
		w.write(t, "promscope.yml", "scope: {label: "+label+"}\n")
		file := filepath.Join(w.dir, "promscope.yml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		jobs := "scrape_configs: [{job_name: j, file_sd_configs: [{files: [targets.json]}]}]\n"
		w.write(t, "main.yml", strings.Replace(string(text), "scrape_configs: []\n", jobs, 1))
	}
	load("before")
	var err error
	w.Bridge, err = New(Options{Flags: config.Flags{File: filepath.Join(w.dir, "main.yml"), PluginsRoot: t.TempDir()}}, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.runPipelines(ctx) }()
	has := func() bool {
		targets := w.runtime.Pipeline().Scrape.Targets()
		return slices.ContainsFunc(targets, func(s scrape.TargetStatus) bool { return s.Job == "j" })
	}
	waitFor := func(what string, is func() bool) {
		t.Helper()
		for tick, end := time.Tick(10*time.Millisecond), time.After(10*time.Second); !is(); {
			select {
			case <-tick:
			case <-end:
				t.Fatal("there is no " + what)
			}
		}
	}
	waitFor("target", has)
	w.write(t, "targets.json", "[{") // as somebody who writes it has got so far
	load("after")
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	waitFor("first set", w.runtime.Pipeline().Scrape.Ready)
	if !has() {
		t.Error("the target is gone")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
