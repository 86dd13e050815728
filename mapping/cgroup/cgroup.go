// Package cgroup reads which container and pod a cgroup belongs to out of its path, as
// /proc/PID/cgroup and the label id of cAdvisor have it.
package cgroup

import "strings"

// A Cgroup is what a path says. What it does not say is "".
type Cgroup struct {
	Container string // id in 64 hex digits
	Pod       string // UID of the Kubernetes pod
	// Whole: the path is that of the container, and not of a group within it.
	Whole bool
}

// Parse reads the path of a cgroup. The runtimes and their drivers write
//
//	/docker/<id>                                                  cgroupfs
//	/system.slice/docker-<id>.scope                               systemd
//	/system.slice/containerd.service/kubepods-…-pod<uid>.slice:cri-containerd:<id>
//	/kubepods/burstable/pod<uid>/<id>
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//	/kubepods.slice/…/crio-<id>.scope
//	/machine.slice/libpod-<id>.scope/container
//	/machine.slice/machine-libpod_pod_<pod>.slice/libpod-<id>.scope
//	/libpod_parent/<pod>/libpod-<id>
//	/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope
//
// Of a container within a container the outermost counts: the machine's runtime, and so
// Scope, knows that one. (Inside of it, its cgroup namespace hides it.)
func Parse(path string) (c Cgroup) {
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == ':' })
	for i, name := range names {
		if c.Container == "" && !isPodmanPod(names, i) {
			c.Container = containerID(strings.TrimSuffix(name, ".scope"))
			c.Whole = c.Container != "" && i == len(names)-1
		}
		if c.Pod == "" {
			c.Pod = podUID(strings.TrimSuffix(name, ".slice"))
		}
	}
	return c
}

// isPodmanPod tells whether a group is that of a pod of podman with the driver cgroupfs.
// It is named by the pod's id, which looks like a container's. Podman's containers are
// libpod-<id>, and conmon holds their monitors.
func isPodmanPod(names []string, i int) bool {
	return len(names[i]) == idLength && (i > 0 && names[i-1] == "libpod_parent" ||
		i+1 < len(names) && (names[i+1] == "conmon" || strings.HasPrefix(names[i+1], "libpod-")))
}

// idLength is how many hex digits a container's id has.
const idLength = 64

// containerID returns the container that a cgroup is named after: <id> or
// <runtime>-<id>.
func containerID(name string) string {
	if len(name) < idLength {
		return ""
	}
	runtime, id := name[:len(name)-idLength], name[len(name)-idLength:]
	if !IsContainerID(id) {
		return ""
	}
	switch {
	case runtime == "":
		return id
	case !strings.HasSuffix(runtime, "-"):
		return ""
	case strings.HasSuffix(runtime, "conmon-"):
		// libpod-conmon-<id>.scope and crio-conmon-<id>.scope hold the container's
		// monitor, which runs outside.
		return ""
	}
	return id
}

// podUID returns the UID of the pod that a cgroup is named after: pod<uid>, or
// kubepods-…-pod<uid> with the dashes of the UID as underscores, since systemd
// takes a dash for a level of the hierarchy. Scope shows static pods by their UID, too.
func podUID(name string) string {
	i := strings.LastIndex(name, "pod")
	if i < 0 || i > 0 && name[i-1] != '-' {
		return ""
	}
	if uid := strings.ReplaceAll(name[i+len("pod"):], "_", "-"); IsPodUID(uid) {
		return uid
	}
	return ""
}

// IsContainerID tells whether s has the form of a container's id.
func IsContainerID(s string) bool { return len(s) == idLength && isHex(s) }

// IsPodUID tells whether s has the form of a pod's UID: a UUID, or for a static pod the
// hash of its manifest, in 32 hex digits.
func IsPodUID(s string) bool {
	return len(s) == 32 && isHex(s) || len(s) == 36 &&
		s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:])
}

// isHex is no regular expression: rules ask about each node of each evaluation.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
