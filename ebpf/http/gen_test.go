package http

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The parser alone, for its unit tests.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target bpfel -go-package http -output-suffix _test parser bpf/parse_test.bpf.c -- -I../bpf -O2 -mcpu=v3 -Wall -Werror

// TestGenerated compiles the programs again, in another directory, and compares every byte of
// what is in git.
func TestGenerated(t *testing.T) {
	for _, tool := range []string{"clang-19", "llvm-strip-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("PROMSCOPE_REQUIRE_SERVERS") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	root := t.TempDir()
	dir := filepath.Join(root, "http")
	tool := filepath.Join(root, "bpf2go")
	command(t, ".", "go", "build", "-o", tool, "github.com/cilium/ebpf/cmd/bpf2go")
	for from, to := range map[string]string{"bpf": filepath.Join(dir, "bpf"), "../bpf": filepath.Join(root, "bpf")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	line := regexp.MustCompile(`(?m)^//go:generate go run github.com/cilium/ebpf/cmd/bpf2go (.*)$`)
	for _, source := range []string{"gen.go", "gen_test.go"} {
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		found := line.FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s has no line for go generate", source)
		}
		t.Setenv("GOFILE", source)
		command(t, dir, tool, strings.Fields(string(found[1]))...)
	}
	generated, err := filepath.Glob(filepath.Join(dir, "*_bpfel*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(generated) != 4 {
		t.Fatalf("generated %q", generated)
	}
	for _, path := range generated {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source compiles to: run go generate", filepath.Base(path))
		}
	}
}

func command(t *testing.T, dir, name string, arguments ...string) {
	t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}
