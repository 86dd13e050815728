package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/mapping"
)

var update = flag.Bool("update", false, "write the generated documentation")

// Some pages have sections that are written from the code.
func TestDocs(t *testing.T) {
	for section, page := range map[string]struct{ file, text string }{
		"flags":      {"command-line.md", flagsSection(t)},
		"presets":    {"presets.md", presetsSection(t)},
		"collectors": {"collectors.md", collectorsSection()},
		"rooms":      {"ARCHITECTURE.md", roomsSection(t)},
	} {
		t.Run(section, func(t *testing.T) { checkSection(t, filepath.Join("..", "..", "docs", page.file), section, page.text) })
	}
}

// checkSection compares what is between the marks of a section with the text, or
// writes it there.
func checkSection(t *testing.T, file, section, text string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), "<!-- "+section+" -->\n")
	was, after, ends := strings.Cut(rest, "<!-- /"+section+" -->")
	if !begins || !ends {
		t.Fatalf("no section %s in %s", section, file)
	}
	if *update {
		got := before + "<!-- " + section + " -->\n" + text + "<!-- /" + section + " -->" + after
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(was, text); diff != "" {
		t.Errorf("%s is not up to date: run make docs (-file +code):\n%s", file, diff)
	}
}

// flagsSection is what --help-long prints; kingpin itself prints that to
// os.Stdout, whatever it was told.
func flagsSection(t *testing.T) string {
	t.Helper()
	t.Setenv("COLUMNS", "80") // the width that kingpin breaks lines at
	app, _ := newApp(&environment{})
	var help bytes.Buffer
	app.UsageWriter(&help)
	parsed, err := app.ParseContext(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.UsageForContextWithTemplate(parsed, 2, kingpin.LongHelpTemplate); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(help.String())) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return "```\n" + b.String() + "```\n"
}

// collectorsSection lists the collectors and what they need.
func collectorsSection() string {
	var b strings.Builder
	b.WriteString("| Collector | | By default | Rights | Kernel, best first |\n|---|---|---|---|---|\n")
	for _, d := range collectors.Definitions() {
		var rights, hooks []string
		for _, c := range d.Capabilities {
			rights = append(rights, "`"+c+"`")
		}
		for _, a := range d.HookSets {
			hooks = append(hooks, fmt.Sprintf("`%s` (Linux %s, BTF)", a.Name, a.Kernel))
		}
		fmt.Fprintf(&b, "| `%s` | %s | on, each %s | %s | %s |\n", d.Name, d.Help, d.Interval,
			cmp.Or(strings.Join(rights, ", "), "none"), cmp.Or(strings.Join(hooks, "; "), "any"))
	}
	return b.String()
}

// roomsSection lists promscope's packages: the first sentence of the comment, and
// which others they import.
func roomsSection(t *testing.T) string {
	t.Helper()
	const module = "github.com/promscope/promscope/"
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}|{{.Doc}}|{{join .Imports " "}}`, module+"...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| Room | What lives there | Imports, of ours |\n|---|---|---|\n")
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 3 {
			t.Fatalf("cannot read %q", line)
		}
		room := strings.TrimPrefix(fields[0], module)
		doc := strings.NewReplacer("[", "", "]", "").Replace(fields[1])
		doc = strings.TrimPrefix(doc, "Package "+path.Base(room)+" ")
		doc = strings.TrimPrefix(doc, "Command "+path.Base(room)+" ")
		var imports []string
		for imported := range strings.FieldsSeq(fields[2]) {
			if name, ours := strings.CutPrefix(imported, module); ours {
				imports = append(imports, "`"+name+"`")
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", room, strings.TrimRight(doc, ".:"), cmp.Or(strings.Join(imports, " "), "–"))
	}
	return b.String()
}

// presetsSection lists the presets: the comment that each file begins with, and its
// rules.
func presetsSection(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, name := range mapping.Presets() {
		source, ok := mapping.PresetSource(name)
		if !ok {
			t.Fatalf("no source of preset %s", name)
		}
		fmt.Fprintf(&b, "## %s\n\n", name)
		for line := range strings.Lines(string(source)) {
			text, comment := strings.CutPrefix(line, "#")
			if !comment {
				break
			}
			b.WriteString(strings.TrimPrefix(text, " "))
		}
		if !slices.Contains(mapping.DefaultPresets(), name) {
			b.WriteString("\nIn use where the configuration asks for it.\n")
		}
		b.WriteString("\n| Metric | In Scope | Node | Format | Formula |\n|---|---|---|---|---|\n")
		var file struct {
			Rules []struct {
				Metric, Row, Label, Format, Expr string
				Threshold                        float64
				Node                             any
			}
		}
		if err := yaml.Unmarshal(source, &file); err != nil {
			t.Fatal(err)
		}
		for _, r := range file.Rules {
			node := r.Node
			if labels, ok := node.(map[string]any); ok {
				delete(labels, "regex")
				for topology, label := range labels {
					node = fmt.Sprintf("%s, by `%s`", topology, label)
				}
			}
			formula := strings.ReplaceAll(strings.Join(strings.Fields(r.Expr), " "), "|", "\\|")
			formula = "`" + formula + "`"
			if r.Threshold > 0 {
				formula += fmt.Sprintf(", from a mean of %g on", r.Threshold)
			}
			format := cmp.Or(r.Format, "number")
			if r.Row != "" {
				format = "row"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", cmp.Or(r.Metric, r.Row), r.Label, node, format, formula)
		}
		b.WriteString("\n")
	}
	return b.String()
}
