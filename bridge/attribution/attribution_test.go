package attribution

import (
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// A unix socket of another network namespace is dialled by its path.
func TestDialUnixSocketOfAnotherNamespace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	target := labels.FromStrings(discovery.LabelNetNS, "4026531999", job.LabelUnixSocket, path)
	conn, err := dial(socket.New(machine))(t.Context(), target, "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestProcessLabels(t *testing.T) {
	for _, test := range []struct {
		process host.Process
		want    labels.Labels
	}{
		{host.Process{PID: 7}, labels.FromStrings("target_pid", "7", "target_subject_pid", "7")},
		{host.Process{PID: 7, Container: "c", Pod: "p"}, labels.FromStrings(
			"target_container_id", "c", "target_pid", "7", "target_pod_uid", "p", "target_subject_pid", "7")},
	} {
		if got := processLabels(test.process); !labels.Equal(got, test.want) {
			t.Errorf("%+v: %s, want %s", test.process, got, test.want)
		}
	}
}

// rules are those of the preset process_exporter, and those of the text.
func rules(t *testing.T, text string) *mapping.Set {
	t.Helper()
	opts := mapping.Options{Interval: func([]*labels.Matcher) time.Duration { return time.Second }, MaxWindow: time.Hour}
	doc, err := document.Parse("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	parsed, list := mapping.Parse(doc, doc.Root, opts)
	preset, more := mapping.Preset("process_exporter", opts)
	set, evenMore := mapping.NewSet(append(parsed, preset...))
	if err := slices.Concat(list, more, evenMore).Err(); err != nil {
		t.Fatal(err)
	}
	return set
}

// A pid is translated where a rule finds it. What a rule finds in a value is a process of
// the machine, or nothing.
func TestTranslatePID(t *testing.T) {
	const ns = hosttest.InitPIDNS + 500
	m, tree := machine(t,
		hosttest.Process{PID: 100, Comm: "exporter", PIDNS: ns, NSPIDs: []int{100, 1}},
		hosttest.Process{PID: 101, Comm: "worker", PIDNS: ns, NSPIDs: []int{101, 7}},
		hosttest.Process{PID: 103, Comm: "exporter"},
		hosttest.Process{PID: 104, Comm: "exporter", PIDNS: ns + 1, NSPIDs: []int{104, 1},
			MountInfo: "25 1 0:5 / /proc rw - proc none rw\n27 1 0:6 / /host/proc ro - proc none rw\n"},
	)
	set := rules(t, `
- {metric: a, label: A, expr: a, node: {process: pid}}
- {metric: b, label: B, expr: b, node: {process: info, regex: '.*pid=([0-9]+).*'}}
- {metric: c, label: C, expr: c, node: {process: parent_child, regex: '([0-9]+)/.*'}}
- {metric: d, label: D, expr: d, node: {process: parent_child, regex: '.*/([0-9]+)'}}
- {metric: e, label: E, expr: e, node: {process: greedy, regex: '.*([0-9]+)'}}
- {metric: f, label: F, expr: f, node: {process: optional, regex: '[a-z]+([0-9]+)?'}}
- {metric: g, label: G, expr: g, node: {process: target_pid}}
`)
	pids := pidRules(set)
	if got, want := slices.Sorted(maps.Keys(pids)), []string{"greedy", "groupname", "info", "optional", "parent_child", "pid"}; !slices.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
	if n := len(pids["groupname"]); n != 1 {
		t.Errorf("%d rules find pids in groupname with one regex", n)
	}
	translate := translatePID(m, pids)
	for _, test := range []struct {
		exporter, label, value string
		want                   string
		pids                   []int // that rules find
		lost                   bool
	}{
		{"100", "pid", "7", "101", []int{101}, false},
		{"100", "pid", "8", "8@unknown", nil, true},
		{"100", "pid", "worker", "worker", nil, false},
		{"100", "groupname", "worker;7", "worker;101", []int{101}, false},
		{"100", "groupname", "worker;8", "worker;8@unknown", nil, true},
		{"100", "groupname", "worker", "worker", nil, false},
		{"100", "groupname", "7", "7", nil, false},
		{"100", "info", "comm=worker,pid=7,threads=1", "comm=worker,pid=101,threads=1", []int{101}, false},
		{"100", "info", "comm=worker,pid=8,threads=1", "comm=worker,pid=8,threads=1@unknown", nil, true},
		{"100", "parent_child", "7/a", "101/a", []int{101}, false},
		{"100", "parent_child", "a/7", "a/101", []int{101}, false},
		{"100", "parent_child", "7/7", "7/7@unknown", nil, false},
		{"100", "greedy", "w7", "w7@unknown", nil, false},
		{"100", "optional", "w", "w", nil, false},
		{"103", "groupname", "worker;7", "worker;7", []int{7}, false},
		{"103", "parent_child", "7/8", "7/8", []int{7, 8}, false},
		{"104", "groupname", "worker;7", "worker;7", []int{7}, false},
		{"", "groupname", "worker;7", "worker;7", []int{7}, false},
	} {
		got := translate(t.Context(), labels.FromStrings("target_pid", test.exporter), test.label, test.value)
		if got.Value != test.want || got.Lost != test.lost {
			t.Errorf("%s of %q: %q, lost %v; want %q", test.label, test.exporter, got.Value, got.Lost, test.want)
		}
		var found []int
		for _, r := range pids[test.label] {
			if pid, err := strconv.Atoi(r.NodeID(got.Value)); err == nil {
				found = append(found, pid)
			}
		}
		if !slices.Equal(found, test.pids) {
			t.Errorf("%s of %q: rules find %v in %q, want %v", test.label, test.exporter, found, got.Value, test.pids)
		}
	}

	worker := translate(t.Context(), labels.FromStrings("target_pid", "100"), "groupname", "worker;7")
	if worker.Holds == nil || !worker.Holds() {
		t.Fatal("the process lives, and its pid does not hold")
	}
	tree.Remove(101)
	tree.Advance(time.Second)
	if worker.Holds() {
		t.Error("the process has ended, and its pid holds")
	}
}

// What an exporter says of one of several servers elsewhere is of no process here.
func TestSubjectOfOneOfMany(t *testing.T) {
	tree := hosttest.New(t)
	tree.Add(hosttest.Process{PID: 7, PPID: 1, Comm: "redis_exporter"})
	machine, err := host.New(host.Options{ProcRoot: tree.Root, Now: tree.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	ask, origin := subject(socket.New(machine)), processLabels(host.Process{PID: 7})
	for _, step := range []struct {
		request string
		want    string
	}{
		{"/scrape?target=a", "7"},
		{"/scrape?target=b", ""},
		{"/scrape?target=a", ""},
		{"/metrics", "7"},
	} {
		got := ask(t.Context(), origin, step.request)()
		if pid := got.Labels.Get("target_subject_pid"); pid != step.want || got.Labels.Get("target_pid") != "7" {
			t.Errorf("%s: %s (%s), want the subject %q", step.request, got.Labels, got.Note, step.want)
		}
	}
}
