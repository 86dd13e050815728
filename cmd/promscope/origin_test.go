package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// An exporter in network and pid namespaces of its own calls processes by the pids
// that they have there.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	p := startPlugin(t, noPresets+"rules: [{metric: work, label: Work, expr: work, node: {process: pid}}]\n")
	client := probe(t, p)
	// There, nobody has promscope's pid.
	exporter, address := startRole(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWPID, nil,
		fmt.Sprintf("pids 127.0.0.1:9200 %d", p.Process.Pid))
	began := time.Now()
	if link(t, exporter.Process.Pid, "net") == link(t, os.Getpid(), "net") || link(t, exporter.Process.Pid, "pid") == link(t, os.Getpid(), "pid") {
		t.Fatal("the exporter is in our namespaces")
	}
	worker := children(t, exporter.Process.Pid)[0]
	node := func(pid int) string { return fmt.Sprintf("%s;%d", hostName, pid) }
	within(t, client, began, 2*lookInterval, "the processes of the namespace", func(r *probetest.Report) error {
		for pid, want := range map[int]float64{exporter.Process.Pid: 5, worker: 7} {
			if got, ok := r.Value("Process", node(pid), "work"); !ok || got != want {
				return fmt.Errorf("work of %d is %v, want %v", pid, got, want)
			}
		}
		return nil
	})
	only := func(r *probetest.Report, pids ...int) error {
		for key := range r.Topologies["Process"].Nodes {
			if !slices.ContainsFunc(pids, func(pid int) bool { return key == node(pid) }) {
				return fmt.Errorf("%s has metrics", key)
			}
		}
		return nil
	}
	if err := only(poll(t, client, 1), exporter.Process.Pid, worker); err != nil {
		t.Error(err)
	}

	// The worker is gone; what the exporter goes on to say of it lands nowhere.
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, client, time.Now(), 2*time.Second, "the dead worker", func(r *probetest.Report) error {
		return only(r, exporter.Process.Pid)
	})
	for range 12 {
		if err := only(poll(t, client, 1), exporter.Process.Pid); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	_ = address
}

// A pid that is used again is another process: what was said of the first is not
// shown on the second.
func TestReusedPID(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	victim := start(t, "/bin/sleep", "600")
	pid := victim.Process.Pid
	e := newExporter(t, fmt.Sprintf("work{pid=\"%d\"} 1\n", pid))
	p := startPlugin(t, noPresets+fmt.Sprintf(`
scrape_configs:
  - job_name: slow
    scrape_interval: 8s
    scrape_timeout: 1s
    static_configs: [{targets: ["%s"]}]
rules: [{metric: work, label: Work, expr: work, node: {process: pid}}]
`, e.address()))
	client := probe(t, p)
	node := fmt.Sprintf("%s;%d", hostName, pid)
	shown := func(r *probetest.Report) error {
		if _, ok := r.Value("Process", node, "work"); !ok {
			return errNotYet
		}
		return nil
	}
	// The second scrape, for the third to be an interval away.
	within(t, client, time.Now(), 15*time.Second, "the process", func(r *probetest.Report) error {
		if e.count() < 2 {
			return errNotYet
		}
		return shown(r)
	})

	// A process may seem to be a little younger than it is: the sample shall be
	// older than that. And promscope shall not see the pid free.
	time.Sleep(500 * time.Millisecond)
	scraped := e.count()
	_ = p.Process.Signal(syscall.SIGSTOP)
	victim.kill()
	startWithPID(t, pid)
	born := time.Now()
	_ = p.Process.Signal(syscall.SIGCONT)
	polls := 0
	for e.count() == scraped {
		report := poll(t, client, 1)
		if e.count() == scraped && time.Since(born) > time.Second {
			if shown(report) == nil {
				t.Fatalf("what was said of process %d is shown on its successor", pid)
			}
			polls++
		}
		time.Sleep(100 * time.Millisecond)
	}
	if polls < 10 {
		t.Errorf("looked %d times only before the next scrape", polls)
	}
	// From the next scrape on it is the new one that is spoken of.
	within(t, client, time.Now(), 3*time.Second, "its successor", shown)
	if m := poll(t, client, 1).Metric("Process", node, "work"); m != nil && m.Samples[0].Date.Before(born.Add(-100*time.Millisecond)) {
		t.Errorf("it has a sample of %s, and was started at %s", m.Samples[0].Date, born)
	}
}

func (e *exporter) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.scrapes
}

// startWithPID starts processes until one has the pid.
func startWithPID(t *testing.T, pid int) {
	t.Helper()
	const last = "/proc/sys/kernel/ns_last_pid"
	for range 1000 {
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			unmet(t, "needs a kernel with checkpoint and restore: %v", err)
		}
		cmd := exec.Command("/bin/sleep", "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		if cmd.Process.Pid == pid {
			return
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Fatalf("pid %d was not to be had", pid)
}

// Containers of all runtimes, made of cgroups as these make them.
func TestContainers(t *testing.T) {
	t.Parallel()
	// Not in a pid namespace: the kernel counts HTTP by the pids of the first.
	if !inSandbox(t, ownNetwork) {
		return
	}
	const pod = "0a1b2c3d-1111-2222-3333-444455556666"
	slice := "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(pod, "-", "_") + ".slice"
	containers := []struct {
		name, path, id string
		port           int
		pod            bool
	}{
		{name: "docker, cgroupfs", path: "docker/%s"},
		{name: "docker, systemd", path: "system.slice/docker-%s.scope"},
		{name: "containerd", path: slice + "/cri-containerd-%s.scope", pod: true},
		{name: "cri-o", path: slice + "/crio-%s.scope", pod: true},
		{name: "podman", path: "machine.slice/libpod-%s.scope/container"},
	}
	root := cgroup2(t)
	var urls []string
	for i := range containers {
		c := &containers[i]
		c.id = strings.Repeat(fmt.Sprintf("%02x", 0xa0+i), 32)
		c.port = 9301 + i
		address := fmt.Sprintf("127.0.0.1:%d", c.port)
		process, _ := startRole(t, 0, nil, "golang "+address)
		joinCgroup(t, root, fmt.Sprintf(c.path, c.id), process.Process.Pid)
		urls = append(urls, "http://"+address+"/")
	}
	traffic(t, urls...)

	// Other tests' exporters listen in namespaces that can be seen from here.
	netns := strings.TrimSuffix(strings.TrimPrefix(link(t, os.Getpid(), "net"), "net:["), "]")
	p := startPlugin(t, fmt.Sprintf(`
scrape_configs:
  - job_name: local
    listener_sd_configs: [{ports: [9301-9305]}]
    relabel_configs:
      - {source_labels: [__meta_listener_netns], regex: "%s", action: keep}
      - {source_labels: [__meta_listener_container_id], target_label: found_in}
presets: {include: [http_handlers, http]}
rules:
  - {metric: pod_requests, label: Requests/s, expr: "sum by (target_pod_uid) (rate(http_requests_total[$__rate_interval]))", node: {pod: target_pod_uid}}
  - {metric: relabelled, label: Relabelled, expr: count by (found_in) (up), node: {container: found_in}}
`, netns))
	client := probe(t, p)
	began := time.Now()
	metrics := []string{"promscope_handler_requests", "promscope_handler_errors", "relabelled"}
	if strings.Contains(p.metrics(t), `promscope_collector_running{collector="http"} 1`) {
		metrics = append(metrics, "promscope_http_requests", "promscope_http_errors", "promscope_http_p99")
	} else {
		t.Log("the collector http does not run here")
	}
	within(t, client, began, 3*lookInterval, "all containers", func(r *probetest.Report) error {
		for _, c := range containers {
			l := local{c.name, c.id + ";<container>", "Container", nil, nil}
			if err := l.missing(r, metrics); err != nil {
				return err
			}
		}
		return local{"the pod", pod + ";<pod>", "Pod", nil, nil}.missing(r, []string{"pod_requests"})
	})
}

// cgroup2 returns a directory of the test's own in the unified hierarchy.
func cgroup2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(fields[1], "promscope-test-") //nolint:usetesting // a cgroup is no ordinary directory
		if err != nil {
			unmet(t, "needs to make cgroups: %v", err)
		}
		t.Cleanup(func() { removeCgroups(t, dir) })
		return dir
	}
	unmet(t, "needs cgroup v2")
	return ""
}

// removeCgroups removes cgroups whose processes have ended, which the kernel may
// take some time to notice.
func removeCgroups(t *testing.T, root string) {
	t.Helper()
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		eventually(t, 5*time.Second, "removing "+dir, func() error { return unix.Rmdir(dir) })
	}
}

// joinCgroup makes a cgroup and puts a process into it.
func joinCgroup(t *testing.T, root, path string, pid int) {
	t.Helper()
	dir := root
	for _, name := range strings.Split(path, "/") {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, pid int, namespace string) string {
	t.Helper()
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, namespace))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func children(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, task := range tasks {
		content, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	if len(pids) == 0 {
		t.Fatalf("process %d has no children", pid)
	}
	return pids
}
