package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/config"
)

// The whole of it, on this machine.
func TestDoctor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(file, []byte("scrape_configs: [{job_name: down, static_configs: [{targets: ['127.0.0.1:1']}]}]\ncollectors: {http: {enabled: false}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	asked := false
	d, err := Diagnose(t.Context(), config.Flags{File: file, PluginsRoot: t.TempDir(), Host: "vm"}, func(time.Duration, time.Duration) { asked = true })
	if err != nil || !asked {
		t.Fatal(err, asked)
	}
	findings := map[string][]Finding{}
	for _, f := range d.Findings {
		findings[f.Check] = append(findings[f.Check], f)
	}
	for check, words := range map[string]string{
		"configuration":    "1 scrape job, ",
		"plugins root":     "writable",
		"host name":        `"vm" by --scope.host`,
		"collector iowait": "works",
		"collector http":   "switched off",
		"local endpoints":  "no job has listener_sd_configs",
	} {
		if f := findings[check]; len(f) != 1 || f[0].Verdict != VerdictOK || !strings.Contains(f[0].Finding, words) {
			t.Errorf("%s: %+v", check, f)
		}
	}
	if f := findings["targets"]; len(f) != 2 || f[1].Verdict != VerdictWarn || !strings.Contains(f[1].Finding, "down 127.0.0.1:1 is down: ") {
		t.Errorf("targets: %+v", f)
	}
	if !d.OK() {
		t.Errorf("a target that is down is no failure: %+v", d)
	}

	if err := os.WriteFile(file, []byte("rules: [{metric: x}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err = Diagnose(t.Context(), config.Flags{File: file, PluginsRoot: t.TempDir()}, func(time.Duration, time.Duration) {})
	if err != nil || d.OK() {
		t.Errorf("a configuration that cannot be used: %v, %+v", err, d)
	}
}
