package probetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// valid is a report that keeps to everything.
const valid = `{"Plugins":[{"id":"promscope","label":"promscope","description":"d","interfaces":["reporter"],"api_version":"1"}],` +
	`"Host":{"metric_templates":{` +
	`"a":{"id":"a","label":"A","format":"percent","priority":2.5},` +
	`"b":{"id":"b","label":"B","priority":2.6}},` +
	`"nodes":{"vm;<host>":{"metrics":{"a":{"min":0,"max":100,"samples":[` +
	`{"date":"2026-11-22T12:00:00Z","value":1.25},{"date":"2026-11-22T12:00:01.5Z","value":2}]}},` +
	`"latest":{"x_version":{"timestamp":"2026-11-22T12:00:00Z","value":"1"}},` +
	`"parents":{"host":["vm;<host>"]},"sets":{"s":["t"]}}},` +
	`"metadata_templates":{"x_version":{"id":"x_version","label":"X","from":"latest","priority":5}},` +
	`"table_templates":{"x_":{"id":"x_","label":"X","prefix":"x_","type":"property-list"}}},` +
	`"Process":{"metric_templates":{"c":{"id":"c","label":"C","format":"integer","priority":3}},` +
	`"nodes":{"vm;4194303":{"metrics":{"c":{"max":1,"samples":[{"date":"2026-11-22T12:00:00Z","value":1}]}}}}},` +
	`"Container":{"metadata_templates":{"k":{"id":"k","label":"K","from":"latest","priority":1}},"nodes":{"` + containerID + `;<container>":{"latest":{"k":{"timestamp":"2026-11-22T12:00:00Z","value":"v"}}}}},` +
	`"Pod":{"metadata_templates":{"k":{"id":"k","label":"K","from":"latest","priority":1}},"nodes":{"01234567-89ab-cdef-0123-456789abcdef;<pod>":{"latest":{"k":{"timestamp":"2026-11-22T12:00:00Z","value":"v"}}}}}}`

func reportTime() time.Time { return time.Date(2026, 11, 22, 12, 0, 2, 0, time.UTC) }

func newTestChecker() *Checker {
	return NewChecker("promscope", Options{
		Alive: func(int) bool { return true },
		Now:   reportTime,
	})
}

// problems returns the lines of an error.
func problems(err error) []string {
	var found *Error
	if !errors.As(err, &found) {
		return nil
	}
	return strings.Split(found.Error(), "\n")
}

func TestCheckerAcceptsWhatIsRight(t *testing.T) {
	report, err := newTestChecker().Check([]byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := report.Value("Host", "vm;<host>", "a"); !ok || got != 2 {
		t.Errorf("value = %v, %v, want 2", got, ok)
	}
	if _, ok := report.Value("Host", "vm;<host>", "b"); ok {
		t.Error("a metric that is not there has a value")
	}
	if m := report.Metric("Process", "vm;4194303", "c"); m == nil || m.Max != 1 || len(m.Samples) != 1 {
		t.Errorf("metric = %+v", m)
	}
	want := Template{ID: "a", Label: "A", Format: "percent", Priority: 2.5}
	if got := report.Topologies["Host"].Templates["a"]; got != want {
		t.Errorf("template = %+v, want %+v", got, want)
	}
	if got := report.Topologies["Host"].Nodes["vm;<host>"].Latest["x_version"]; got != "1" {
		t.Errorf("latest = %q, want 1", got)
	}
}

// TestCheckerCatches breaks a valid report in one place at a time.
func TestCheckerCatches(t *testing.T) {
	const (
		host  = `Host/nodes/vm;<host>`
		inA   = host + `/metrics/a`
		first = `{"date":"2026-11-22T12:00:00Z","value":1.25}`
	)
	tests := []struct {
		name     string
		old, new string
		want     []string
	}{
		{"trailing newline", valid, valid + "\n",
			[]string{`the report has 1 bytes after the last }, for which the probe dials anew each second: "\n"`}},
		{"second value", valid, valid + "{}",
			[]string{`the report has 2 bytes after the last }, for which the probe dials anew each second: "{}"`}},
		{"truncated", valid, valid[:len(valid)-1], []string{
			`the report is not valid JSON: unexpected EOF`, `Plugins: has 0 plugins, want exactly 1`}},
		{"empty", valid, "", []string{
			`the report is not valid JSON: unexpected EOF`, `Plugins: has 0 plugins, want exactly 1`}},
		{"trailing comma", `"value":2}]`, `"value":2},]`, []string{
			`the report is not valid JSON: invalid character ']' looking for beginning of value`, `Plugins: has 0 plugins, want exactly 1`}},
		{"NaN", `"value":2}`, `"value":NaN}`, []string{
			`the report is not valid JSON: invalid character 'N' looking for beginning of value`, `Plugins: has 0 plugins, want exactly 1`}},
		{"infinite by exponent", `"value":2}`, `"value":1e999}`, []string{
			inA + `/samples[1]/value: 1e999 is beyond what a number can be`,
			inA + `/samples[1]: value +Inf is beyond what Scope can show`}},
		{"no UTF-8", `"label":"A"`, "\"label\":\"\xff\"", []string{
			`the report is not valid UTF-8`, `Plugins: has 0 plugins, want exactly 1`}},
		{"array", valid, "[]", []string{`want an object`, `Plugins: has 0 plugins, want exactly 1`}},
		{"duplicate key", `"min":0,`, `"min":0,"min":1,`, []string{inA + `/min: key comes twice`}},

		{"null value", `"value":2}`, `"value":null}`,
			[]string{inA + `/samples[1]/value: is null, which Scope takes for a real 0 or nothing; want a number`}},
		{"null max", `"max":100,`, `"max":null,`, []string{
			inA + `/max: is null, which Scope takes for a real 0 or nothing; want a number`,
			inA + `: max is 0, which breaks the drawing of the node`}},
		{"value as string", `"value":2}`, `"value":"2"}`, []string{inA + `/samples[1]/value: want a number`}},
		{"null label of metadata", `"label":"X","from"`, `"label":null,"from"`,
			[]string{`Host/metadata_templates/x_version/label: is null, which Scope takes for a real 0 or nothing; want a string`,
				`Host/metadata_templates/x_version: label is empty`}},

		{"topology in the plural", `"Pod":`, `"Pods":`, []string{`Pods: unknown key, skipped silently by Scope`}},
		{"topology in lower case", `"Pod":`, `"pod":`, []string{`pod: unknown key, skipped silently by Scope: it would read "Pod"`}},
		{"nodes in upper case", `"nodes":{"01234567-`, `"Nodes":{"01234567-`,
			[]string{`Pod/Nodes: unknown key, skipped silently by Scope: it would read "nodes"`}},
		{"templates misspelt", `"table_templates":`, `"tables":`, []string{`Host/tables: unknown key, skipped silently by Scope`}},
		{"metric key", `"samples":[` + first, `"sample":[],"samples":[` + first,
			[]string{inA + `/sample: unknown key, skipped silently by Scope`}},
		{"sample key", first, `{"Date":"2026-11-22T12:00:00Z","value":1.25}`, []string{
			inA + `/samples[0]/Date: unknown key, skipped silently by Scope: it would read "date"`,
			inA + `/samples[0]: lacks "date"`}},
		{"template key", `"format":"integer"`, `"Format":"integer"`,
			[]string{`Process/metric_templates/c/Format: unknown key, skipped silently by Scope: it would read "format"`}},
		{"plugin key", `"api_version":"1"`, `"apiVersion":"1"`, []string{
			`Plugins[0]/apiVersion: unknown key, skipped silently by Scope`,
			`Plugins: api_version is "", the probe's is "1"`}},
		{"node id", `"parents":`, `"id":"vm;<host>","parents":`,
			[]string{host + `/id: must not be sent: an id draws nodes that Scope does not know as ghosts, and hides those it does if it is not theirs`}},
		{"node topology", `"parents":`, `"topology":"host","parents":`,
			[]string{host + `/topology: must not be sent: two plugins that give a node different ones crash the probe`}},
		{"latest without value", `"timestamp":"2026-11-22T12:00:00Z","value":"1"`, `"timestamp":"2026-11-22T12:00:00Z"`,
			[]string{host + `/latest/x_version: lacks "value"`, host + `/latest/x_version: is empty, and not drawn`}},

		{"no plugin", `"Plugins":[{"id":"promscope","label":"promscope","description":"d","interfaces":["reporter"],"api_version":"1"}]`, `"Plugins":[]`,
			[]string{`Plugins: has 0 plugins, want exactly 1`}},
		{"two plugins", `"Plugins":[`, `"Plugins":[{"id":"other","label":"o","interfaces":["reporter"],"api_version":"1"},`,
			[]string{`Plugins: has 2 plugins, want exactly 1`}},
		{"other id", `"id":"promscope"`, `"id":"Promscope"`, []string{`Plugins: id is "Promscope", the socket's name says "promscope"`}},
		{"no label", `"label":"promscope"`, `"label":""`, []string{`Plugins: label is empty`}},
		{"API version", `"api_version":"1"`, `"api_version":"2"`, []string{`Plugins: api_version is "2", the probe's is "1"`}},
		{"controller", `["reporter"]`, `["reporter","controller"]`,
			[]string{`Plugins: claims the interface "controller", with which the probe overwrites the controls of every node reported`}},
		{"no reporter", `["reporter"]`, `["Reporter"]`, []string{
			`Plugins: claims the interface "Reporter", which Scope does not know`,
			`Plugins: does not claim the interface "reporter"`}},

		{"template under another key", `"a":{"id":"a"`, `"A":{"id":"a"`, []string{`Host/metric_templates/A: id is "a", the key is "A"`}},
		{"format", `"format":"percent"`, `"format":"percnt"`, []string{`Host/metric_templates/a: format "percnt" is none of Scope's`}},
		{"priority missing", `"label":"B","priority":2.6`, `"label":"B"`,
			[]string{`Host/metric_templates/b: priority is 0, which comes before Scope's own metrics`}},
		{"priority twice", `"priority":2.6`, `"priority":2.5`,
			[]string{`Host/metric_templates/b: priority 2.5 is that of a too: their order is random`}},
		{"label twice", `"label":"B"`, `"label":"A"`,
			[]string{`Host/metric_templates/b: label "A" is that of a too: one hides the other in the metric selector`}},
		{"template without label", `"label":"B",`, ``, []string{`Host/metric_templates/b: label is empty`}},
		{"no template", `"metrics":{"a":`, `"metrics":{"z":`,
			[]string{host + `/metrics/z: has no template in its topology, and is not drawn`}},

		{"host key", `"vm;<host>":{"metrics"`, `"vm":{"metrics"`,
			[]string{`Host/nodes/vm: is no key of a host, which is "<name>;<host>" with <host> literally`}},
		{"process key", `"vm;4194303"`, `"vm;0123"`,
			[]string{`Process/nodes/vm;0123: is no key of a process, which is "<host name>;<pid>"`}},
		{"process of another host", `"vm;4194303"`, `"vm2;4194303"`,
			[]string{`Process/nodes/vm2;4194303: speaks of host "vm2" instead of "vm": a ghost`}},
		{"container key", containerID + `;<container>`, containerID[:12] + `;<container>`,
			[]string{`Container/nodes/0123456789ab;<container>: is no key of a container, which is "<64 hex digits>;<container>" with <container> literally`}},
		{"pod key", `cdef;<pod>"`, `cdef;pod"`,
			[]string{`Pod/nodes/01234567-89ab-cdef-0123-456789abcdef;pod: is no key of a pod, which is "<UID>;<pod>" with <pod> literally`}},
		{"empty node", `{"latest":{"k":{"timestamp":"2026-11-22T12:00:00Z","value":"v"}}}}},"Pod"`, `{}}},"Pod"`,
			[]string{`Container/nodes/` + containerID + `;<container>: says nothing of the node, which makes it but litter in the app's report`}},

		{"row without a template", `"latest":{"x_version"`, `"latest":{"x_release"`,
			[]string{host + `/latest/x_release: has no template in its topology, and is not drawn`}},
		{"row that is not drawn", `"from":"latest","priority":5`, `"priority":5`,
			[]string{`Host/metadata_templates/x_version: is from "", and not drawn: want "latest"`}},
		{"row that hides", `"from":"latest","priority":5`, `"from":"latest","priority":10`,
			[]string{host + `/latest/x_version: has priority 10, and hides: rows below 10 are shown`}},
		{"empty row", `"value":"1"}}`, `"value":""}}`,
			[]string{host + `/latest/x_version: is empty, and not drawn`}},

		{"max of 0", `"max":100`, `"max":0`, []string{inA + `: max is 0, which breaks the drawing of the node`}},
		{"max missing", `"min":0,"max":100,`, ``, []string{inA + `: max is 0, which breaks the drawing of the node`}},
		{"no samples", `[` + first + `,{"date":"2026-11-22T12:00:01.5Z","value":2}]`, `[]`,
			[]string{inA + `: has no samples, which is shown as 0`}},
		{"samples descend", `12:00:01.5Z`, `11:00:00Z`,
			[]string{inA + `/samples[1]: date 2026-11-22T11:00:00Z is not after the one before, 2026-11-22T12:00:00Z`}},
		{"samples at one time", `12:00:01.5Z`, `12:00:00Z`,
			[]string{inA + `/samples[1]: date 2026-11-22T12:00:00Z is not after the one before, 2026-11-22T12:00:00Z`}},
		{"future", `12:00:01.5Z`, `12:00:04Z`, []string{inA + `/samples[1]: date 2026-11-22T12:00:04Z lies in the future`}},
		{"date without zone", `12:00:01.5Z`, `12:00:01.5`, []string{
			inA + `/samples[1]/date: "2026-11-22T12:00:01.5" is no date as in RFC 3339, for which the probe drops the report`,
			inA + `/samples[1]: date 0001-01-01T00:00:00Z is not after the one before, 2026-11-22T12:00:00Z`}},
		{"too large", `"value":2}`, `"value":1e17}`, []string{inA + `/samples[1]: value 1e+17 is beyond what Scope can show`}},
		{"too small", `"value":2}`, `"value":-1e17}`, []string{inA + `/samples[1]: value -1e+17 is beyond what Scope can show`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(valid, tt.old) {
				t.Fatalf("the valid report has no %s", tt.old)
			}
			_, err := newTestChecker().Check([]byte(strings.Replace(valid, tt.old, tt.new, 1)))
			if diff := cmp.Diff(tt.want, problems(err)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckerKnowsTheHost(t *testing.T) {
	checker := NewChecker("promscope", Options{Host: "other", Alive: func(int) bool { return true }, Now: reportTime})
	_, err := checker.Check([]byte(valid))
	want := []string{
		`Host/nodes/vm;<host>: speaks of host "vm" instead of "other": a ghost`,
		`Process/nodes/vm;4194303: speaks of host "vm" instead of "other": a ghost`,
	}
	if diff := cmp.Diff(want, problems(err)); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestCheckerKnowsPluginIDs(t *testing.T) {
	body := strings.Replace(valid, `"id":"promscope"`, `"id":"prom_scope"`, 1)
	_, err := NewChecker("prom_scope", Options{Alive: func(int) bool { return true }, Now: reportTime}).Check([]byte(body))
	want := []string{`the socket's name makes "prom_scope" the plugin's id, which the probe does not take`}
	if diff := cmp.Diff(want, problems(err)); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestCheckerKnowsTheSizeLimit(t *testing.T) {
	filler := strings.Repeat("x", maxReportBytes)
	_, err := newTestChecker().Check([]byte(strings.Replace(valid, `"description":"d"`, `"description":"`+filler+`"`, 1)))
	if got := problems(err); len(got) != 1 || !strings.HasSuffix(got[0], "beyond 52428800 the probe drops it") {
		t.Errorf("violations = %q", got)
	}
}

// TestCheckerCatchesChange checks a report after a valid one.
func TestCheckerCatchesChange(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
		want     []string
	}{
		{"none", "", "", nil},
		{"a new template", `"b":{`, `"d":{"id":"d","label":"D","priority":4},"b":{`, nil},
		{"template gone", `"b":{"id":"b","label":"B","priority":2.6}`, `"d":{"id":"d","label":"D","priority":4}`,
			[]string{`Host/metric_templates/b: has vanished: templates must be in every report`}},
		{"topology gone", `,"Process":`, `,"ReplicaSet":`,
			[]string{`Process/metric_templates/c: has vanished: templates must be in every report`}},
		{"template changed", `"priority":2.6`, `"priority":2.7`,
			[]string{`Host/metric_templates/b: has changed from {ID:b Label:B Format: Priority:2.6} to {ID:b Label:B Format: Priority:2.7}`}},
		{"back in time", `12:00:01.5Z`, `12:00:01.25Z`,
			[]string{`Host/nodes/vm;<host>/metrics/a: ends at 2026-11-22T12:00:01.25Z, and did at 2026-11-22T12:00:01.5Z the time before`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checker := newTestChecker()
			if _, err := checker.Check([]byte(valid)); err != nil {
				t.Fatal(err)
			}
			_, err := checker.Check([]byte(strings.Replace(valid, tt.old, tt.new, 1)))
			if diff := cmp.Diff(tt.want, problems(err)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckerCatchesDeadProcesses(t *testing.T) {
	now := reportTime()
	alive := false
	checker := NewChecker("promscope", Options{
		Alive:     func(pid int) bool { return pid != 4194303 || alive },
		DeadGrace: 2 * time.Second,
		Now:       func() time.Time { return now },
	})
	check := func() []string {
		_, err := checker.Check([]byte(valid))
		return problems(err)
	}
	for range 3 { // at 0, 1 and 2 seconds
		if got := check(); got != nil {
			t.Fatalf("violations within the grace: %q", got)
		}
		now = now.Add(time.Second)
	}
	if diff := cmp.Diff([]string{`Process/nodes/vm;4194303: is dead for 3s at least`}, check()); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
	// A pid that lives again starts anew.
	alive = true
	if got := check(); got != nil {
		t.Errorf("violations of a process that lives: %q", got)
	}
	alive = false
	if got := check(); got != nil {
		t.Errorf("violations of a process that has just died: %q", got)
	}
}

func TestCheckerAsksProcByDefault(t *testing.T) {
	checker := NewChecker("promscope", Options{DeadGrace: time.Nanosecond, Now: reportTime})
	// The kernel's largest pid belongs to no process of a test.
	if _, err := checker.Check([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	checker.opts.Now = func() time.Time { return reportTime().Add(time.Second) }
	_, err := checker.Check([]byte(valid))
	if diff := cmp.Diff([]string{`Process/nodes/vm;4194303: is dead for 1s at least`}, problems(err)); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
