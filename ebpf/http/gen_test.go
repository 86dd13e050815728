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

// TestGenerated compiles the programs again, in another directory, and compares every byte of
// what is in git.
func TestGenerated(t *testing.T) {
	for _, tool := range []string{"clang-19", "llvm-strip-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			requireServers(t, err)
		}
	}
	root := t.TempDir()
	dir := filepath.Join(root, "http")
	for from, to := range map[string]string{"bpf": filepath.Join(dir, "bpf"), "../bpf": filepath.Join(root, "bpf")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Skip(err) // the binary runs without its sources
		}
	}
	line := regexp.MustCompile(`(?m)^//go:generate (.*)$`)
	for source, object := range map[string]string{"gen.go": "http.bpf.o", "parse_test.go": "parse_test.bpf.o"} {
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range line.FindAllSubmatch(content, -1) {
			words := strings.Fields(string(found[1]))
			command(t, dir, words[0], words[1:]...)
		}
		got, err := os.ReadFile(filepath.Join(dir, object))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source compiles to: run go generate", object)
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
