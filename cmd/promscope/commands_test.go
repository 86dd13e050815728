package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// The archives in testdata hold files, and in their comments commands, one a line,
// which run where the files are. The file "output" is what they print, in the order
// of the commands: what goes to standard error after a line "stderr:", and the exit
// code if it is not 0.
func TestCommands(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		name, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { testArchive(t, name) })
	}
}

func testArchive(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var want *txtar.File
	for i := range archive.Files {
		f := &archive.Files[i]
		if f.Name == "output" {
			want = f
			continue
		}
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want == nil {
		archive.Files = append(archive.Files, txtar.File{Name: "output"})
		want = &archive.Files[len(archive.Files)-1]
	}
	var got strings.Builder
	for line := range strings.Lines(string(archive.Comment)) {
		args, command := strings.CutPrefix(strings.TrimSpace(line), "promscope ")
		if !command {
			continue
		}
		fmt.Fprintf(&got, "$ promscope %s\n%s", args, runCommand(t, split(args)))
	}
	if *update {
		want.Data = []byte(got.String())
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(want.Data), got.String()); diff != "" {
		t.Errorf("output differs (-want +got):\n%s", diff)
	}
}

// runCommand runs promscope in this process and returns what it printed, without
// what is different each time.
func runCommand(t *testing.T, args []string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(context.WithoutCancel(t.Context()), args, &stdout, &stderr)
	text := stdout.String()
	if stderr.Len() > 0 {
		text += "stderr:\n" + stderr.String()
	}
	if code != 0 {
		text += fmt.Sprintf("exit code %d\n", code)
	}
	for _, change := range []struct{ pattern, with string }{
		{`evaluated(\s+)(now|[0-9.]+ \S+ ago), in [0-9.]+ \S+:`, "evaluated${1}AGO, in TIME:"},
		{`(?m)(last sample\s+|stored\s+\S+, )(now|[0-9.]+ \S+ ago|in [0-9.]+ \S+)$`, "${1}AGO"},
		{`("(last_evaluation|time)": )"[^"]*"`, `$1"TIME"`},
		{`("last_duration_seconds": )[0-9.e-]+`, "${1}0"},
	} {
		text = regexp.MustCompile(change.pattern).ReplaceAllString(text, change.with)
	}
	return text
}

// split splits a command line at blanks that are not within single quotes.
func split(line string) []string {
	var args []string
	var arg strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				args = append(args, arg.String())
			}
			arg.Reset()
			begun = false
		default:
			arg.WriteRune(r)
			begun = true
		}
	}
	if begun {
		args = append(args, arg.String())
	}
	return args
}
