package exits

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

func died(tgid, signal uint32, oom bool, names string) victim {
	v := victim{TGID: tgid, Signal: signal, Comm: [16]byte{'n', 'o', 'd', 'e'}, Length: uint32(len(names))}
	if oom {
		v.OOM = 1
	}
	copy(v.Path[:], names)
	return v
}

func named(comm string, v victim) victim {
	v.Comm = [16]byte{}
	copy(v.Comm[:], comm)
	return v
}

const (
	inA = "a.scope\x00system.slice\x00"
	inB = "b\x00"
	inC = "c\x00"
)

func TestVictim(t *testing.T) {
	for names, want := range map[string]string{
		"":                "/",
		inA:               "/system.slice/a.scope",
		"x\xff\x00":       "/x�",
		"c\x00b\x00a\x00": "/a/b/c",
	} {
		v := died(7, 11, false, names)
		if got := v.cgroup(); got != want {
			t.Errorf("%q is %q, want %q", names, got, want)
		}
	}
	v := died(7, 64, false, inA)
	if got, want := v.String(), "node[7] by SIGRT in /system.slice/a.scope"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// series returns what the cgroups have, each with its birth in seconds.
func series(t *testing.T, c *cgroups, start time.Time) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range c.metrics() {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		name := "oom"
		if len(out.Label) == 2 {
			name = out.Label[1].GetValue()
		}
		if out.Gauge != nil {
			all[out.Label[0].GetValue()+" killed "+name] = fmt.Sprintf("after %v", time.UnixMilli(int64(1000*out.Gauge.GetValue())).Sub(start).Seconds())
			continue
		}
		all[out.Label[0].GetValue()+" "+name] = fmt.Sprintf("%v since %v", out.Counter.GetValue(), out.Counter.CreatedTimestamp.AsTime().Sub(start).Seconds())
	}
	return all
}

func TestCgroups(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	c := newCgroups(2, start)
	for _, step := range []struct {
		after   time.Duration
		victims []victim
		want    map[string]string
		evicted uint64
	}{
		{time.Second, nil, map[string]string{}, 0},
		{
			2 * time.Second, []victim{died(1, 9, true, inA), died(2, 9, false, inA)},
			map[string]string{"/system.slice/a.scope SIGKILL": "2 since 1", "/system.slice/a.scope oom": "1 since 1", "/system.slice/a.scope killed node": "after 2"}, 0,
		},
		{
			60 * time.Second, []victim{died(3, 15, false, inB), named("ruby", died(4, 9, true, inA))},
			map[string]string{
				"/system.slice/a.scope SIGKILL": "3 since 1", "/system.slice/a.scope oom": "2 since 1", "/system.slice/a.scope killed ruby": "after 60",
				"/b SIGTERM": "1 since 2",
			}, 0,
		},
		{61 * time.Second, []victim{died(5, 15, false, inB)}, map[string]string{
			"/system.slice/a.scope SIGKILL": "3 since 1", "/system.slice/a.scope oom": "2 since 1", "/system.slice/a.scope killed ruby": "after 60",
			"/b SIGTERM": "2 since 2",
		}, 0},
		// There is room for two: that goes where nothing happened for longest.
		{62 * time.Second, []victim{died(6, 11, false, inC)}, map[string]string{"/b SIGTERM": "2 since 2", "/c SIGSEGV": "1 since 61"}, 1},
		{61*time.Second + keepFor, nil, map[string]string{"/c SIGSEGV": "1 since 61"}, 1},
		{62*time.Second + keepFor, nil, map[string]string{}, 1},
		{63*time.Second + keepFor, []victim{died(7, 11, false, inC)}, map[string]string{"/c SIGSEGV": "1 since 662"}, 1},
	} {
		c.update(start.Add(step.after), step.victims)
		if diff := cmp.Diff(step.want, series(t, c, start)); diff != "" {
			t.Errorf("after %v: %s", step.after, diff)
		}
		if c.evicted != step.evicted {
			t.Errorf("after %v: %d evicted", step.after, c.evicted)
		}
	}
}

// The log names the first one at once, and then the last one of each ten seconds with how many
// more there were.
func TestNews(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var (
		n    news
		said []string
	)
	for second := range 40 {
		for _, pid := range map[int][]uint32{0: {1}, 1: {2, 3}, 9: {4}, 25: {5, 6}}[second] {
			v := died(pid, 9, true, inA)
			n.add(&v)
		}
		if v, others := n.due(start.Add(time.Duration(second) * time.Second)); v != nil {
			said = append(said, fmt.Sprintf("%d: %d and %d", second, v.TGID, others))
		}
	}
	if diff := cmp.Diff([]string{"0: 1 and 0", "10: 4 and 2", "25: 6 and 1"}, said); diff != "" {
		t.Error(diff)
	}
}

// All signals that end a process by default have a series from the start (signal(7)); others
// once they have ended one.
func TestBySignal(t *testing.T) {
	counts := make([]uint64, 128)
	counts[9], counts[34], counts[64] = 4, 1, 2
	got := bySignal(counts)
	if len(got) != 24 || got["SIGKILL"] != 4 || got["SIGRT"] != 3 {
		t.Errorf("%v", got)
	}
	counts[17] = 5 // SIGCHLD
	if got := bySignal(counts); len(got) != 25 || got["SIGCHLD"] != 5 {
		t.Errorf("%v", got)
	}
}

func TestOptions(t *testing.T) {
	for most, problems := range map[int]int{0: 1, 1: 0, 256: 0, mostCgroups: 0, mostCgroups + 1: 1} {
		if got := (&Options{MaxCgroups: most}).Check(); len(got) != problems {
			t.Errorf("max_cgroups %d: %v", most, got)
		}
	}
}
