package collectors

import (
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestContainerGatherer(t *testing.T) {
	reg := prometheus.NewRegistry()
	requests := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "requests", Help: "Requests."}, []string{"pid", "zone"})
	requests.WithLabelValues("7", "a").Set(1)
	requests.WithLabelValues("8", "a").Set(2)
	requests.WithLabelValues("none", "a").Set(3)
	hosts := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hosts", Help: "Hosts."})
	reg.MustRegister(requests, hosts)

	lookUps := 0
	g := &containerGatherer{gatherer: reg, lookUp: func(pid int) (container, pod string, err error) {
		lookUps++
		if pid == 7 {
			return "c7", "p7", nil
		}
		return "", "", nil
	}}
	want := `# HELP hosts Hosts.
# TYPE hosts gauge
hosts 0
# HELP requests Requests.
# TYPE requests gauge
requests{pid="7",target_container_id="c7",target_pod_uid="p7",zone="a"} 1
requests{pid="8",zone="a"} 2
requests{pid="none",zone="a"} 3
`
	for range 2 {
		// As /metrics does: several gatherers, checked against each other.
		if err := testutil.GatherAndCompare(prometheus.Gatherers{g}, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	if lookUps != 2 {
		t.Errorf("%d look-ups of two pids, want 2", lookUps)
	}
}

// A process that has ended stays in its container for as long as it has series, however long that is.
func TestContainerGathererEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "requests", Help: "Requests."}, []string{"pid"})
		reg := prometheus.NewRegistry()
		reg.MustRegister(requests)
		containers := map[int]string{7: "c7", 8: "c8"}
		g := &containerGatherer{gatherer: reg, lookUp: func(pid int) (container, pod string, err error) {
			if container = containers[pid]; container == "" {
				err = fs.ErrNotExist
			}
			return container, "", err
		}}
		expect := func(series ...string) {
			t.Helper()
			want := "# HELP requests Requests.\n# TYPE requests gauge\n" + strings.Join(series, "\n") + "\n"
			if err := testutil.GatherAndCompare(g, strings.NewReader(want)); err != nil {
				t.Error(err)
			}
		}
		requests.WithLabelValues("7").Set(1)
		requests.WithLabelValues("8").Set(2)
		expect(`requests{pid="7",target_container_id="c7"} 1`, `requests{pid="8",target_container_id="c8"} 2`)
		delete(containers, 7)
		containers[8] = "c9" // the pid is another's
		for range 3 {
			time.Sleep(containersKept + time.Second)
			expect(`requests{pid="7",target_container_id="c7"} 1`, `requests{pid="8",target_container_id="c9"} 2`)
		}
		requests.DeleteLabelValues("7")
		time.Sleep(containersKept + time.Second)
		expect(`requests{pid="8",target_container_id="c9"} 2`)
		requests.WithLabelValues("7").Set(1)
		expect(`requests{pid="7"} 1`, `requests{pid="8",target_container_id="c9"} 2`)
	})
}

// What is counted of a cgroup belongs to the container and the pod that its path names, also
// where pids name nothing.
func TestContainerGathererCgroup(t *testing.T) {
	id := strings.Repeat("1234abcd", 8)
	const pod = "0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11"
	reg := prometheus.NewRegistry()
	kills := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kills", Help: "Kills."}, []string{"cgroup"})
	paths := []string{"/", "/kubepods/pod" + pod + "/" + id + "/init.scope", "/system.slice/cron.service", "/system.slice/docker-" + id + ".scope"}
	for i, path := range paths {
		kills.WithLabelValues(path).Set(float64(i))
	}
	reg.MustRegister(kills)
	want := `# HELP kills Kills.
# TYPE kills gauge
kills{cgroup="` + paths[0] + `"} 0
kills{cgroup="` + paths[2] + `"} 2
kills{cgroup="` + paths[3] + `",target_container_id="` + id + `"} 3
kills{cgroup="` + paths[1] + `",target_container_id="` + id + `",target_pod_uid="` + pod + `"} 1
`
	for _, foreign := range []bool{false, true} {
		if err := testutil.GatherAndCompare(prometheus.Gatherers{&containerGatherer{gatherer: reg, foreign: foreign}}, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
}

// The pids of another pid namespace name no process here, nor its container.
func TestContainerGathererForeign(t *testing.T) {
	reg := prometheus.NewRegistry()
	requests := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "requests", Help: "Requests."}, []string{"pid"})
	requests.WithLabelValues("7").Set(1)
	requests.WithLabelValues("8").Set(2)
	reg.MustRegister(requests)
	g := &containerGatherer{gatherer: reg, foreign: true, lookUp: func(pid int) (container, pod string, err error) {
		t.Errorf("process %d was looked up", pid)
		return "", "", nil
	}}
	want := `# HELP requests Requests.
# TYPE requests gauge
requests{pid="7@unknown"} 1
requests{pid="8@unknown"} 2
`
	if err := testutil.GatherAndCompare(g, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
