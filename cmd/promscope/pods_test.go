package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// What a preset puts on containers is on their pod as well, where the probe that polls
// reports on Kubernetes or the configuration says so. Scope would draw a pod that it does
// not know as a blank node.
func TestPods(t *testing.T) {
	t.Parallel()
	const uid = "0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11"
	one, other := strings.Repeat("c9", 32), strings.Repeat("d9", 32)
	slice := "kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	cgroups := cgroup2(t)
	for _, id := range []string{one, other} {
		joinCgroup(t, cgroups, slice+"/crio-"+id+".scope", start(t, "/bin/sleep", "600").Process.Pid)
	}
	e := newExporter(t, fmt.Sprintf("container_processes{id=\"/%[1]s/crio-%[2]s.scope\"} 12\ncontainer_processes{id=\"/%[1]s/crio-%[3]s.scope\"} 5\n", slice, one, other))
	for _, test := range []struct {
		pods   string // scope.pods
		flag   string // of the probe
		on     bool
		reason string // as the page Scope says it
	}{
		{"auto", "--probe.docker=true", false, "has no --probe.kubernetes=true"},
		{"auto", "--probe.kubernetes=true", true, "reports on Kubernetes"},
		{"auto", "--probe.kubernetes.role=host", true, "reports on Kubernetes"},
		{"on", "--probe.docker=true", true, "scope.pods is on"},
		{"off", "--probe.kubernetes=true", false, "scope.pods is off"},
	} {
		t.Run(test.pods+" "+test.flag, func(t *testing.T) {
			t.Parallel()
			p := startPlugin(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scope: {pods: %s}
presets: [cadvisor]
collectors: {http: {enabled: false}}
scrape_configs: [{job_name: kubelet, static_configs: [{targets: ["%s"]}]}]
`, test.pods, e.address()))
			startRole(t, 0, nil, "probe "+p.socket, test.flag)
			checker := probetest.NewChecker("promscope", probetest.Options{Host: hostName})
			report := func() *probetest.Report {
				t.Helper()
				_, body, err := getUnix(t.Context(), p.socket, "/report") // which is no other probe
				if err != nil {
					t.Fatal(err)
				}
				r, err := checker.Check([]byte(body))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			const metric = "promscope_container_processes"
			eventually(t, 10*time.Second, "the containers and the pod", func() error {
				r := report()
				if got, _ := r.Value("Container", other+";<container>", metric); got != 5 {
					return fmt.Errorf("%v processes in the container", got)
				}
				if got, _ := r.Value("Pod", uid+";<pod>", metric); test.on && got != 12+5 {
					return fmt.Errorf("%v processes in the pod", got)
				}
				_, page, err := get(t.Context(), p.web+"/scope")
				if err == nil && !strings.Contains(page, test.reason) {
					err = fmt.Errorf("the page does not say %q", test.reason)
				}
				return err
			})
			for range 3 { // as many scrapes
				time.Sleep(time.Second)
				if shown := report().Metric("Pod", uid+";<pod>", metric) != nil; shown != test.on {
					t.Fatalf("the pod is shown: %v, want %v", shown, test.on)
				}
			}
		})
	}
}
