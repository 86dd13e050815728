package kernels

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// jobOutput is what the tests of one package wrote in one run, and the exit code of their process.
type jobOutput struct{ text, exit string }

// split takes a guest's console apart: the kernel's release, and the output of each job by its number.
func split(console string) (release string, outputs map[int]jobOutput) {
	outputs = map[int]jobOutput{}
	for _, part := range strings.Split("\n"+console, "\njob ") {
		number, text, ok := strings.Cut(part, "\n")
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if at := strings.LastIndex(text, "exit "); ok && err == nil && at >= 0 {
			outputs[n] = jobOutput{text: text[:at], exit: strings.TrimSpace(text[at+len("exit "):])}
		} else if r, ok := strings.CutPrefix(strings.TrimSpace(part), "release "); ok {
			release = r
		}
	}
	return release, outputs
}

// The outcomes of a test, as test2json names them.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// result is what became of one test or subtest. A test of which a subtest was skipped has passed.
type result struct {
	test, outcome, output string
	seconds               float64 // that it took
}

// parse reads the output of a test binary with -test.v=test2json.
func parse(t *testing.T, output string) []result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json", "-t")
	cmd.Stdin = strings.NewReader(output)
	events, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	texts := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(events))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		switch event.Action {
		case "output":
			texts[event.Test] += event.Output
		case passed, failed, skipped:
			if event.Test != "" {
				results = append(results, result{event.Test, event.Action, texts[event.Test], event.Elapsed})
			}
		}
	}
	return results
}

// row is a line of the table of one collector.
type row struct {
	collector, guest, release, hooks, result, verified string
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", r.guest, r.release, r.hooks, r.result, r.verified)
}

// settled is the row without what changes with each release of a kernel.
func (r row) settled() row {
	r.release, r.verified = "", ""
	return r
}

const header = "| Kernel | Release | Hooks | Result | Instructions verified |\n|---|---|---|---|---|\n"

var (
	verifiedLine = regexp.MustCompile(`(\w+): (\d+) instructions verified`)
	logLine      = regexp.MustCompile(`(?s)\w+_test\.go:\d+: (.*?)\n(\s*---|$)`)
)

// rowsOf makes one row for each hook set that the results name.
func rowsOf(guest, release, collector string, results []result) []row {
	byHooks := map[string][]result{}
	for _, r := range results {
		if path := strings.Split(r.test, "/"); len(path) > 1 {
			byHooks[path[1]] = append(byHooks[path[1]], r)
		}
	}
	release, _, _ = strings.Cut(release, "-cloud")
	release, _, _ = strings.Cut(release, "+") // the revision of Debian's package
	var rows []row
	for hooks, results := range byHooks {
		outcome, verified := summarize(results)
		rows = append(rows, row{collector, guest, release, hooks, outcome, verified})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.hooks, b.hooks) })
	return rows
}

// summarize says what the tests of one hook set come to, and how many instructions the verifier
// read for its programs. A test goes by the name of its part below the hook set, where it has
// parts, and else by its own.
func summarize(results []result) (outcome, verified string) {
	var bad, passes []string
	reason, total, largest, name := "", 0, 0, ""
	for _, r := range results {
		path := strings.Split(r.test, "/")
		hasParts := slices.ContainsFunc(results, func(other result) bool { return strings.HasPrefix(other.test, r.test+"/") })
		part := path[min(len(path), 3)-1]
		if len(path) == 2 {
			part = path[0]
		}
		switch {
		case r.outcome == skipped && len(path) == 2:
			if match := logLine.FindStringSubmatch(r.output); match != nil {
				// The remedy comes after it.
				reason, _, _ = strings.Cut(strings.Join(strings.Fields(match[1]), " "), "; ")
				// "collector http: no hook set serves here (NAME: reason)", of a test with this set only.
				if _, own, ok := strings.Cut(reason, "("+path[1]+": "); ok {
					reason = strings.TrimSuffix(own, ")")
				}
			}
		case len(path) == 2 && hasParts:
		case r.outcome == failed:
			bad = append(bad, part)
		case r.outcome == passed:
			passes = append(passes, part)
		}
		for _, match := range verifiedLine.FindAllStringSubmatch(r.output, -1) {
			n, _ := strconv.Atoi(match[2]) // the pattern is of digits
			if total += n; n > largest {
				largest, name = n, match[1]
			}
		}
	}
	unique := func(tests []string) string {
		slices.Sort(tests)
		return strings.Join(slices.Compact(tests), ", ")
	}
	switch {
	case len(bad) != 0:
		outcome = "**fails** " + unique(bad)
	case len(passes) == 0:
		outcome = "not here: " + reason
	case reason != "":
		outcome = "passes " + unique(passes) + "; no more: " + reason
	default:
		outcome = "passes " + unique(passes)
	}
	if total != 0 {
		verified = fmt.Sprintf("%d, of these `%s` %d", total, name, largest)
	}
	return outcome, verified
}

// servingLine is what the doctor says of a collector that runs, as TestBeside logs it.
var servingLine = regexp.MustCompile(`ok collector (\w+): .*, by (\w+)`)

// markServing notes in the rows which hook set promscope chooses in a guest, in the kernel's
// own mode of preemption: as the doctor there says.
func markServing(rows []row, console string) {
	for _, match := range servingLine.FindAllStringSubmatch(console, -1) {
		for i, r := range rows {
			if r.collector == match[1] && r.hooks == match[2] && !strings.Contains(r.guest, "preempt=") {
				rows[i].result = "serves; " + r.result
			}
		}
	}
}

// checkDocs compares the rows with the table in each collector's documentation, or writes it.
func checkDocs(t *testing.T, rows []row, complete bool) {
	t.Helper()
	byFile := map[string][]row{}
	for _, r := range rows {
		t.Log(r.collector, r)
		file := filepath.Join("../../docs", "collectors-"+r.collector+".md")
		byFile[file] = append(byFile[file], r)
	}
	for file, rows := range byFile {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no collector's tests
		} else if err != nil {
			t.Fatal(err)
		}
		before, documented, after, err := table(string(text))
		if err != nil {
			t.Logf("%s: %v: the rows are compared with nothing", file, err)
			continue
		}
		switch {
		case !*update:
			for _, problem := range compare(documented, rows, complete) {
				t.Errorf("%s: %s; make kernels ARGS=-update writes the table", file, problem)
			}
		case !complete:
			t.Logf("%s: not written, for not all kernels were booted", file)
		default:
			var lines strings.Builder
			for _, r := range rows {
				fmt.Fprintln(&lines, r)
			}
			if err := os.WriteFile(file, []byte(before+header+lines.String()+after), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// table finds the table in a collector's documentation: its rows, and the text before and after it.
func table(text string) (before string, rows []row, after string, err error) {
	const begin, end = "<!-- kernels -->\n", "<!-- /kernels -->"
	before, rest, ok := strings.Cut(text, begin)
	body, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", nil, "", fmt.Errorf("has no %s…%s", begin, end)
	}
	for _, line := range strings.Split(strings.TrimPrefix(body, header), "\n") {
		if cells := strings.Split(strings.Trim(line, "| "), " | "); len(cells) >= 4 {
			rows = append(rows, row{guest: cells[0], release: cells[1], hooks: cells[2], result: cells[3]})
		}
	}
	return before + begin, rows, end + after, nil
}

// compare says in what the documented rows differ from those that were found. Of a run that is
// not complete, only the guests that ran count.
func compare(documented, found []row, complete bool) []string {
	settled := func(rows []row) []string {
		var lines []string
		for _, r := range rows {
			ran := slices.ContainsFunc(found, func(f row) bool { return f.guest == r.guest })
			if complete || ran {
				lines = append(lines, r.settled().String())
			}
		}
		return lines
	}
	var problems []string
	want, got := settled(documented), settled(found)
	for _, line := range got {
		if !slices.Contains(want, line) {
			problems = append(problems, "lacks "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			problems = append(problems, "has, but was not found: "+line)
		}
	}
	return problems
}

const console = `release 6.12.118+deb13-cloud-amd64
job 0
` + "\x16" + `=== RUN   TestHookSets
` + "\x16" + `=== RUN   TestHookSets/one
` + "\x16" + `=== RUN   TestHookSets/one/servers
` + "\x16" + `=== RUN   TestHookSets/one/servers/close
    exact_test.go:9: 999 requests
` + "\x16" + `--- FAIL: TestHookSets/one/servers/close (0.10s)
` + "\x16" + `--- FAIL: TestHookSets/one/servers (0.10s)
` + "\x16" + `--- FAIL: TestHookSets/one (0.10s)
` + "\x16" + `=== RUN   TestHookSets/two
    main_test.go:52: collector http: no hook set serves here (two: no tracepoint two:
        not supported (here)); run another kernel
` + "\x16" + `--- SKIP: TestHookSets/two (0.00s)
` + "\x16" + `=== RUN   TestHookSets/three
` + "\x16" + `=== RUN   TestHookSets/three/programs
    hooksets_test.go:24: on_send: 30 instructions verified, 5 bytes of machine code
    hooksets_test.go:24: on_receive: 12 instructions verified, 5 bytes of machine code
` + "\x16" + `--- PASS: TestHookSets/three/programs (0.00s)
` + "\x16" + `=== RUN   TestHookSets/three/dialogues
` + "\x16" + `=== RUN   TestHookSets/three/dialogues/plain
` + "\x16" + `--- PASS: TestHookSets/three/dialogues/plain (0.00s)
` + "\x16" + `--- PASS: TestHookSets/three/dialogues (0.00s)
` + "\x16" + `--- PASS: TestHookSets/three (0.00s)
` + "\x16" + `=== RUN   TestHookSets/four
` + "\x16" + `=== RUN   TestHookSets/four/programs
` + "\x16" + `--- PASS: TestHookSets/four/programs (0.00s)
` + "\x16" + `=== NAME  TestHookSets/four
    hooksets_test.go:17: a task can be preempted
` + "\x16" + `--- SKIP: TestHookSets/four (0.00s)
` + "\x16" + `--- FAIL: TestHookSets (0.10s)
FAIL
exit 1
job 1
` + "\x16" + `=== RUN   TestMemory
` + "\x16" + `=== RUN   TestMemory/three
` + "\x16" + `--- PASS: TestMemory/three (9.00s)
` + "\x16" + `--- PASS: TestMemory (9.00s)
    report_test.go:88: ok collector http: works, by three
        not by two: no tracepoint two
    report_test.go:88: ok collector iowait: works
PASS
exit 0
`

// TestResults reads a console and expects the table that says the same.
func TestResults(t *testing.T) {
	release, outputs := split(console)
	if len(outputs) != 2 || outputs[0].exit != "1" || outputs[1].exit != "0" {
		t.Fatalf("%v", outputs)
	}
	const name = "6.12 amd64"
	var got []row
	for i := range len(outputs) {
		got = append(got, rowsOf([]string{"6.12 amd64", "6.12 amd64 preempt=full"}[i], release, "http", parse(t, outputs[i].text))...)
	}
	markServing(got, console)
	want := []row{
		{"http", name, "6.12.118", "four", "passes programs; no more: a task can be preempted", ""},
		{"http", name, "6.12.118", "one", "**fails** servers", ""},
		{"http", name, "6.12.118", "three", "serves; passes dialogues, programs", "42, of these `on_send` 30"},
		{"http", name, "6.12.118", "two", "not here: no tracepoint two: not supported (here)", ""},
		{"http", "6.12 amd64 preempt=full", "6.12.118", "three", "passes TestMemory", ""},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
}

// TestCompare changes a documented table and expects to be told, but for what each release of a
// kernel changes.
func TestCompare(t *testing.T) {
	found := []row{
		{guest: "5.10 amd64", release: "5.10.0-46", hooks: "one", result: "passes", verified: "42"},
		{guest: "7 amd64", release: "7.3.4", hooks: "one", result: "passes", verified: "43"},
	}
	for _, tt := range []struct {
		name     string
		lines    string
		complete bool
		problems int
	}{
		{"the same", "| 5.10 amd64 | 5.10.0-45 | one | passes | 40 |\n| 7 amd64 | 7.2.1 | one | passes | |\n", true, 0},
		{"another result", "| 5.10 amd64 | 5.10.0-45 | one | passes | 40 |\n| 7 amd64 | 7.2.1 | one | not here: x | |\n", true, 2},
		{"a row is missing", "| 5.10 amd64 | 5.10.0-45 | one | passes | 40 |\n", true, 1},
		{"a guest that did not run", "| 5.10 amd64 | 1 | one | passes | |\n| 6.1 amd64 | 1 | one | passes | |\n| 7 amd64 | 1 | one | passes | |\n", false, 0},
		{"a guest that is gone", "| 5.10 amd64 | 1 | one | passes | |\n| 6.1 amd64 | 1 | one | passes | |\n| 7 amd64 | 1 | one | passes | |\n", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "before\n<!-- kernels -->\n" + header + tt.lines + "<!-- /kernels -->\nafter\n"
			before, documented, after, err := table(text)
			if err != nil || before != "before\n<!-- kernels -->\n" || after != "<!-- /kernels -->\nafter\n" {
				t.Fatalf("%q, %q, %v", before, after, err)
			}
			if problems := compare(documented, found, tt.complete); len(problems) != tt.problems {
				t.Errorf("%q", problems)
			}
		})
	}
}
