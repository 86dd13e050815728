package main

import (
	"os/exec"
	"regexp"
	"runtime/debug"
	"testing"
)

func TestBuiltVersion(t *testing.T) {
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"go build without modules", nil, "dev"},
		{"go test", &debug.BuildInfo{}, "dev"},
		{"go run", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "dev"},
		{"go install of a release", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{"go build in a clone", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.4-0.20260102030405-0123456789ab+dirty"}}, "v1.2.4-0.20260102030405-0123456789ab+dirty"},
	} {
		if got := builtVersion(tt.info); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A program that was built in no particular way has a version, too.
func TestVersion(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"version", "--version"} {
		out, err := exec.CommandContext(t.Context(), path, arg).CombinedOutput()
		if err != nil || !regexp.MustCompile(`^promscope, version (dev|v[0-9]\S*) \(branch: , revision: \S+\)\n`).Match(out) {
			t.Errorf("%s: %v\n%s", arg, err, out)
		}
	}
}
