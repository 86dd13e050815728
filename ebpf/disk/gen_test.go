package disk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGenerated compiles the programs again, in another directory, and compares every byte of what is in git.
func TestGenerated(t *testing.T) {
	for _, tool := range []string{"clang-19", "llvm-strip-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	root := t.TempDir()
	dir := filepath.Join(root, "disk")
	for from, to := range map[string]string{"bpf": filepath.Join(dir, "bpf"), "../bpf": filepath.Join(root, "bpf")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Skip(err) // the binary runs without its sources
		}
	}
	content, err := os.ReadFile("gen.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^//go:generate (.*)$`).FindAllStringSubmatch(string(content), -1) {
		words := strings.Fields(found[1])
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "disk.bpf.o"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, object) {
		t.Error("disk.bpf.o is not what its source compiles to: run go generate")
	}
}
