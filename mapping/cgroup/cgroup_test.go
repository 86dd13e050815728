package cgroup

import (
	"regexp"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	id, other := strings.Repeat("1234abcd", 8), strings.Repeat("f", 64)
	const uid, systemdUID = "0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11", "0b21f5f0_6d1b_4d5e_9f3c_0a2b5e0e9d11"
	for _, test := range []struct {
		name, path string
		want       Cgroup
	}{
		{"the root", "/", Cgroup{}},
		{"nothing", "", Cgroup{}},
		{"a service", "/system.slice/nginx.service", Cgroup{}},
		{"docker with cgroupfs", "/docker/" + id, Cgroup{Container: id, Whole: true}},
		{"docker with systemd", "/system.slice/docker-" + id + ".scope", Cgroup{Container: id, Whole: true}},
		{"systemd within docker", "/system.slice/docker-" + id + ".scope/init.scope", Cgroup{Container: id}},
		{"docker within docker", "/docker/" + id + "/docker/" + other, Cgroup{Container: id}},
		{"Kubernetes with cgroupfs", "/kubepods/burstable/pod" + uid + "/" + id, Cgroup{Container: id, Pod: uid, Whole: true}},
		{"its pod", "/kubepods/burstable/pod" + uid, Cgroup{Pod: uid}},
		{
			"Kubernetes with systemd", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + systemdUID + ".slice/cri-containerd-" + id + ".scope",
			Cgroup{Container: id, Pod: uid, Whole: true},
		},
		{"its pod", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + systemdUID + ".slice", Cgroup{Pod: uid}},
		{
			"containerd without systemd's cgroups", "/system.slice/containerd.service/kubepods-burstable-pod" + systemdUID + ".slice:cri-containerd:" + id,
			Cgroup{Container: id, Pod: uid, Whole: true},
		},
		{"CRI-O", "/kubepods.slice/crio-" + id + ".scope", Cgroup{Container: id, Whole: true}},
		{"the monitor of CRI-O", "/kubepods.slice/crio-conmon-" + id + ".scope", Cgroup{}},
		{"podman", "/machine.slice/libpod-" + id + ".scope", Cgroup{Container: id, Whole: true}},
		{"the monitor of podman", "/machine.slice/libpod-conmon-" + id + ".scope", Cgroup{}},
		{"a group within podman's", "/machine.slice/libpod-" + id + ".scope/container", Cgroup{Container: id}},
		{"a pod of podman", "/machine.slice/machine-libpod_pod_" + other + ".slice", Cgroup{}},
		{"a container in it", "/machine.slice/machine-libpod_pod_" + other + ".slice/libpod-" + id + ".scope", Cgroup{Container: id, Whole: true}},
		{"podman with cgroupfs", "/libpod_parent/libpod-" + id, Cgroup{Container: id, Whole: true}},
		{"its monitors", "/libpod_parent/conmon", Cgroup{}},
		{"a pod of podman with cgroupfs", "/libpod_parent/" + other, Cgroup{}},
		{"a container in it", "/libpod_parent/" + other + "/libpod-" + id, Cgroup{Container: id, Whole: true}},
		{"the monitors in it", "/libpod_parent/" + other + "/conmon", Cgroup{}},
		{"the monitors in a pod below another parent", "/mine/" + other + "/conmon", Cgroup{}},
		{"a container in a pod below another parent", "/mine/" + other + "/libpod-" + id, Cgroup{Container: id, Whole: true}},
		{"capitals", "/docker/" + strings.ToUpper(id), Cgroup{}},
		{"a digit too few", "/docker/" + id[1:], Cgroup{}},
		{"a digit too many", "/docker/0" + id, Cgroup{}},
	} {
		if got := Parse(test.path); got != test.want {
			t.Errorf("%s: %s: %+v, want %+v", test.name, test.path, got, test.want)
		}
	}
}

func TestIDs(t *testing.T) {
	const uid = "0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11"
	id := strings.Repeat("1234abcd", 8)
	for _, test := range []struct {
		text           string
		container, pod bool
	}{
		{id, true, false},
		{id[:32], false, true},
		{uid, false, true},
		{id[1:], false, false},
		{strings.ToUpper(id), false, false},
		{strings.ToUpper(uid), false, false},
		{strings.ReplaceAll(uid, "-", "_"), false, false},
		{uid[:35] + "g", false, false},
		{"", false, false},
	} {
		if container, pod := IsContainerID(test.text), IsPodUID(test.text); container != test.container || pod != test.pod {
			t.Errorf("%q: container %v, pod %v", test.text, container, pod)
		}
	}
}

// What is read out of a path stands in it, as a name of its own or behind its runtime's,
// and a group within the container is the container's, but not the container.
func FuzzParse(f *testing.F) {
	id := strings.Repeat("1234abcd", 8)
	f.Add("/kubepods.slice/kubepods-pod0b21f5f0_6d1b_4d5e_9f3c_0a2b5e0e9d11.slice/cri-containerd-" + id + ".scope")
	f.Add("/docker/" + id + ":x:pod" + strings.Repeat("2", 32))
	f.Add("/libpod_parent/" + strings.Repeat("f", 64) + "/libpod-" + id)
	f.Add("/machine.slice/libpod-conmon-" + id + ".scope")
	f.Add("/kubepods/burstable/pod0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11/" + id + "/docker/" + strings.Repeat("f", 64))
	f.Fuzz(func(t *testing.T, path string) {
		c := Parse(path)
		if c.Container != "" {
			name := regexp.MustCompile(`(^|[/:-])` + c.Container + `(\.scope)?([/:]|$)`)
			if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(c.Container) || !name.MatchString(path) {
				t.Errorf("container %q", c.Container)
			}
		}
		if c.Pod != "" {
			if !regexp.MustCompile(`^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`).MatchString(c.Pod) ||
				!strings.Contains(strings.ReplaceAll(path, "_", "-"), "pod"+c.Pod) {
				t.Errorf("pod %q", c.Pod)
			}
		}
		if c.Whole && c.Container == "" {
			t.Error("the path is that of no container")
		}
		within, want := Parse(path+"/init.scope"), c
		if want.Whole = false; within != want {
			t.Errorf("a group within is of %+v, want %+v", within, want)
		}
	})
}
