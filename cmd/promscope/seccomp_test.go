package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// object is one of JSON.
type object = map[string]any

// seccompProfile is the one that ships, made to trap what it refuses: the Go runtime then
// ends the program and prints who called. Those names are taken out of it.
func seccompProfile(t *testing.T, without ...string) object {
	t.Helper()
	content, err := os.ReadFile("../../deployments/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	var profile object
	if err := json.Unmarshal(content, &profile); err != nil {
		t.Fatal(err)
	}
	if profile["defaultAction"] != "SCMP_ACT_ERRNO" {
		t.Errorf("the default action is %v", profile["defaultAction"])
	}
	profile["defaultAction"] = "SCMP_ACT_TRAP"
	delete(profile, "defaultErrnoRet")
	for _, group := range profile["syscalls"].([]any) {
		g := group.(object)
		g["names"] = slices.DeleteFunc(g["names"].([]any), func(name any) bool { return slices.Contains(without, name.(string)) })
	}
	return profile
}

// container writes the bundle of a container (OCI runtime specification) that has what
// deployments/compose.yml gives promscope: the machine's processes and network, a file
// system that cannot be written to, besides the plugins root, and a few capabilities. Its
// user is promscope's.
func container(t *testing.T, profile object, noNewPrivileges bool, mounts []string, args ...string) (bundle string) {
	t.Helper()
	bundle = t.TempDir()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	capabilities := []string{"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"}
	mount := func(dir string, options ...string) object {
		return object{"destination": dir, "type": "bind", "source": dir, "options": append(options, "rbind")}
	}
	bind := []object{mount("/proc"), mount("/sys", "ro"), mount("/etc", "ro")} // Docker gives it /etc/hosts
	for _, dir := range mounts {
		bind = append(bind, mount(dir))
	}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"root":       object{"path": "rootfs", "readonly": true},
		"mounts":     bind,
		"process": object{
			"user": object{"uid": promscopeUser, "gid": promscopeUser}, "cwd": "/", "args": append([]string{"/promscope"}, args...),
			"noNewPrivileges": noNewPrivileges,
			"capabilities": object{
				"bounding": capabilities, "effective": capabilities, "permitted": capabilities,
				"inheritable": capabilities, "ambient": capabilities,
			},
		},
		"linux": object{"namespaces": []object{{"type": "mount"}}, "seccomp": profile},
	})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(bundle, "rootfs")
	promscope, err := os.ReadFile(path)
	if err := errors.Join(err, os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644),
		os.WriteFile(filepath.Join(root, "promscope"), promscope, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, m := range bind {
		if err := os.MkdirAll(filepath.Join(root, m["destination"].(string)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bundle
}

// TestSeccomp runs promscope in a container of runc, with the profile that ships and all
// that promscope does. One system call more, and the program ends.
func TestSeccomp(t *testing.T) {
	t.Parallel()
	if raceDetector() {
		t.Skip("the profile is for promscope without the race detector, which calls more, and which the tests without it run")
	}
	runc := program(t, "runc", "runc")
	if !inSandbox(t, ownNetwork) {
		return
	}
	here, _ := startRole(t, 0, nil, `user 127.0.0.1:28111 found{place="here"} 1`)
	startRole(t, syscall.CLONE_NEWNET, nil, `user 127.0.0.1:28112 found{place="container"} 1`)
	root := directoryOf(t, promscopeUser)
	rules := noPresets + `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: local
    listener_sd_configs: [{ports: [28112], interval: 1s}]
  - job_name: known
    static_configs: [{targets: ["localhost:28111"]}]
rules:
  - {metric: process, label: Process, expr: 'found{place="here"}', node: {process: target_pid}}
  - {metric: http, label: HTTP, expr: count(promscope_http_hook_info), node: host}
  - {metric: container, label: Container, expr: 'max(found{place="container"})', node: host}
`
	config := readableConfig(t, rules)
	id := fmt.Sprintf("promscope-test-%d", os.Getpid())
	state := t.TempDir()
	args := []string{"--config.file=" + config, "--scope.host=" + hostName, "--scope.plugins-root=" + root}
	run := func(bundle, id string) *exec.Cmd {
		return exec.Command(runc, "--root="+state, "run", "--bundle="+bundle, id)
	}
	const web = "127.0.0.1:28110"
	p := startCommand(t, run(container(t, seccompProfile(t), true, []string{root, filepath.Dir(config)}, append(args,
		"--web.listen-address="+web, "--web.enable-lifecycle", "--config.auto-reload-interval=1s")...), id))
	t.Cleanup(func() { _ = exec.Command(runc, "--root="+state, "delete", "--force", id).Run() })
	client := probetest.NewClient(filepath.Join(root, "promscope", "promscope.sock"), probetest.Options{Host: hostName, Timeout: 5 * time.Second})
	t.Cleanup(client.Close)
	works := func(metrics ...string) func() error {
		return func() error {
			r, err := client.Poll(t.Context())
			if err != nil {
				return err
			}
			if r.Metric("Process", processNode(here), "process") == nil {
				return errors.New("no metric on the process")
			}
			for _, metric := range metrics {
				if r.Metric("Host", hostNode, metric) == nil {
					return fmt.Errorf("no %s", metric)
				}
			}
			return nil
		}
	}
	eventually(t, 20*time.Second, "all that promscope shows", works("http", "container"))
	// A second probe: promscope looks whether the first one lives.
	startRole(t, 0, nil, "probe "+filepath.Join(root, "promscope", "promscope.sock"))
	for _, path := range []string{"/", "/targets", "/rules", "/scope", "/metrics", "/-/healthy", "/api/v1/status"} {
		if status, body, err := get(t.Context(), "http://"+web+path); err != nil || status != http.StatusOK {
			t.Errorf("%s: status %d, %v: %s", path, status, err, body)
		}
	}
	// The doctor in the same container; it exits with 0 where promscope can do its job.
	doctor := exec.Command(runc, append(append([]string{"--root=" + state, "exec", id, "/promscope"}, args...), "doctor")...)
	if out, err := doctor.CombinedOutput(); err != nil {
		t.Errorf("the doctor: %v\n%s", err, out)
	}
	// A reload, and the plugin's directory made again.
	more := "  - {metric: more, label: More, expr: 'max(found)', node: host}\n"
	if err := errors.Join(os.WriteFile(config, []byte(rules+more), 0o644), os.RemoveAll(filepath.Join(root, "promscope"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "a reload", works("http", "container", "more"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+web+"/-/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("reload: %+v, %v", resp, err)
	} else {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil { // runc hands it on
		t.Fatal(err)
	}
	if code := p.exit(t, 10*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(root, "promscope")); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}

	// Without no_new_privs the container's runtime needs the profile for more of its own work.
	out, err := run(container(t, seccompProfile(t), false, nil, "version"), id+"-version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "promscope") {
		t.Errorf("without no_new_privs: %v\n%s", err, out)
	}
	// One call less, and promscope is ended: this test notices what the profile lacks.
	out, err = run(container(t, seccompProfile(t, "uname"), true, nil, "doctor"), id+"-lacking").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "SIGSYS: bad system call") {
		t.Errorf("without uname(2): %v\n%s", err, out)
	}
}
