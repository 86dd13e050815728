package ruletest

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/mapping"
)

var update = flag.Bool("update", false, "write the expected messages in testdata")

func run(t *testing.T, path string) Report {
	t.Helper()
	report, err := Run(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestPresets runs the tests of the presets, and sees to it that each rule of
// each has one.
func TestPresets(t *testing.T) {
	tested := map[string]bool{}
	files, err := filepath.Glob("testdata/presets/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		report := run(t, file)
		if len(report.Problems) > 0 {
			t.Errorf("%v", report.Problems)
		}
		if report.Tests == 0 {
			t.Errorf("%s: no tests", file)
		}
		for _, r := range report.Rules {
			if report.Expected[r.String()] == 0 {
				t.Errorf("preset %s: %s is not tested", r.Preset, r)
			}
			tested[r.Preset] = true
		}
	}
	for _, name := range mapping.Presets() {
		if !tested[name] {
			t.Errorf("preset %s is not tested", name)
		}
	}
}

// TestIdentity runs the cases of whom a series is about, one kind in a file.
func TestIdentity(t *testing.T) {
	files, err := filepath.Glob("testdata/identity/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		report := run(t, file)
		if len(report.Problems) > 0 {
			t.Errorf("%v", report.Problems)
		}
		if report.Tests == 0 {
			t.Errorf("%s: no tests", file)
		}
	}
}

func TestGood(t *testing.T) {
	report := run(t, "testdata/good.yml")
	if len(report.Problems) > 0 {
		t.Errorf("%v", report.Problems)
	}
	if report.Tests != 3 || report.Failed != 0 || report.Expected["process/r"] != 4 || report.Expected["host/load"] != 3 {
		t.Errorf("got %+v", report)
	}
}

func TestRows(t *testing.T) {
	report := run(t, "testdata/rows.yml")
	if len(report.Problems) > 0 || report.Tests != 3 || report.Expected["process/redis_version"] != 6 {
		t.Errorf("got %+v", report)
	}
}

func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		report := run(t, file)
		if report.Problems.Err() == nil {
			t.Errorf("%s: no error", file)
		}
		got := report.Problems.Error() + "\n"
		golden := strings.TrimSuffix(file, ".yml") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
	if report := run(t, "testdata/bad/expectations.yml"); report.Tests != 2 || report.Failed != 1 {
		t.Errorf("%d of %d tests failed", report.Failed, report.Tests)
	}
}

func TestMissingFile(t *testing.T) {
	report := run(t, "testdata/nosuch.yml")
	if got, want := report.Problems.Error(), "testdata/nosuch.yml: error: reading tests: open testdata/nosuch.yml: no such file or directory"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, "testdata/good.yml"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
