package host

import (
	"strings"
	"testing"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

const (
	idA = "3a5c7e9b1d2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a3c"
	idB = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

	uid       = "0b8f2c6e-7d1a-4e5b-9c3f-2a6d8e0f4b1c"
	uidDashed = "0b8f2c6e_7d1a_4e5b_9c3f_2a6d8e0f4b1c"
	hashUID   = "d41d8cd98f00b204e9800998ecf8427e"
)

func TestContainerOf(t *testing.T) {
	tree, m := fixture(t)
	for _, tc := range []struct {
		name, path, container, pod string
	}{
		{"no container", "/user.slice/user-1000.slice/session-2.scope", "", ""},
		{"root", "/", "", ""},
		{"docker, cgroupfs", "/docker/" + idA, idA, ""},
		{"docker, systemd", "/system.slice/docker-" + idA + ".scope", idA, ""},
		{"docker, a service in the container", "/system.slice/docker-" + idA + ".scope/system.slice/nginx.service", idA, ""},
		{"docker in docker: the outer one", "/docker/" + idA + "/docker/" + idB, idA, ""},
		{"seen from another cgroup namespace", "/../../system.slice/docker-" + idA + ".scope", idA, ""},
		{"ECS", "/ecs/cluster/0123456789abcdef0123456789abcdef/" + idA, idA, ""},
		{"containerd, cgroupfs", "/default/" + idA, idA, ""},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + idA + ".scope", idA, ""},
		{"containerd, kubepods, cgroupfs", "/kubepods/burstable/pod" + uid + "/" + idA, idA, uid},
		{"guaranteed, cgroupfs", "/kubepods/pod" + uid + "/" + idA, idA, uid},
		{
			"containerd, kubepods, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidDashed +
				".slice/cri-containerd-" + idA + ".scope", idA, uid,
		},
		{"guaranteed, systemd", "/kubepods.slice/kubepods-pod" + uidDashed + ".slice/cri-containerd-" + idA + ".scope", idA, uid},
		{
			"containerd with a systemd path under cgroupfs", "/system.slice/containerd.service/kubepods-besteffort-pod" + uidDashed +
				".slice:cri-containerd:" + idA, idA, uid,
		},
		{"kind", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uidDashed + ".slice/cri-containerd-" + idA + ".scope", idA, uid},
		{"static pod", "/kubepods/burstable/pod" + hashUID + "/" + idA, idA, hashUID},
		{"cri-o", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidDashed + ".slice/crio-" + idA + ".scope", idA, uid},
		{"cri-o's monitor", "/kubepods.slice/kubepods-pod" + uidDashed + ".slice/crio-conmon-" + idA + ".scope", "", uid},
		{"podman, root", "/machine.slice/libpod-" + idA + ".scope/container", idA, ""},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + idA, idA, ""},
		{"a pod of podman, systemd", "/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope/container", idA, ""},
		{"a pod of podman, cgroupfs", "/libpod_parent/" + idB + "/libpod-" + idA, idA, ""},
		{"a pod of podman below another parent", "/mine/" + idB + "/libpod-" + idA, idA, ""},
		{"a pod's own cgroup, podman", "/libpod_parent/" + idB, "", ""},
		{"the monitor in a pod of podman", "/libpod_parent/" + idB + "/conmon", "", ""},
		{"the monitor in a pod of podman below another parent", "/mine/" + idB + "/conmon", "", ""},
		{"the monitors of podman, cgroupfs", "/libpod_parent/conmon", "", ""},
		{"podman in a unit's cgroup", "/system.slice/web.service/libpod-payload-" + idA, idA, ""},
		{"podman in docker: the outer one", "/docker/" + idB + "/libpod_parent/libpod-" + idA, idB, ""},
		{"the sandbox of a pod", "/kubepods/besteffort/pod" + uid + "/" + idB, idB, uid},
		{"cri-o, cgroupfs", "/kubepods/besteffort/pod" + uid + "/crio-" + idA, idA, uid},
		{"cri-o's monitor, cgroupfs", "/kubepods/besteffort/pod" + uid + "/crio-conmon-" + idA, "", uid},
		{"a process below the container's cgroup", "/kubepods/pod" + uid + "/" + idA + "/init", idA, uid},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + idA + ".scope", "", ""},
		{
			"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA +
				".scope/container", idA, ""},
		{"a pod's own cgroup", "/kubepods/pod" + uid, "", uid},
		{"32 digits are no container", "/process_api/64088df79d01c47e909129fa88c56da9", "", ""},
		{"65 digits are none", "/docker/" + idA + "0", "", ""},
		{"capital digits are none", "/docker/" + strings.ToUpper(idA), "", ""},
		{"kubepods alone is no pod", "/kubepods/besteffort", "", ""},
		{"a name that ends like a pod", "/system.slice/tripod" + uid, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "web", Cgroup: "0::" + tc.path + "\n"})
			container, pod, err := m.ContainerOf(100)
			if err != nil {
				t.Fatal(err)
			}
			if container != tc.container || pod != tc.pod {
				t.Errorf("%s:\ngot  container %q, pod %q\nwant container %q, pod %q", tc.path, container, pod, tc.container, tc.pod)
			}
		})
	}
}
