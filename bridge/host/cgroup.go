package host

import (
	"bytes"
	"strings"
)

// ContainerOf returns the container and the pod of a process, from its cgroup paths. It
// reads less than [Machine.Process].
func (m *Machine) ContainerOf(pid int) (container, pod string, err error) {
	var buf scratch
	content, err := m.readFile(pid, "cgroup", &buf)
	if err != nil {
		return "", "", processError(pid, err)
	}
	// Version 1 has a line for each hierarchy, and runtimes do not use them all;
	// in the hybrid layout the line of version 2 is there, but says "/".
	for len(content) > 0 {
		var line []byte
		line, content, _ = bytes.Cut(content, []byte("\n"))
		path := bytes.IndexByte(line, '/') // behind the hierarchy's number and its controllers
		if path < 0 {
			continue
		}
		c, p := parseCgroupPath(string(line[path:]))
		if container == "" {
			container = c
		}
		if pod == "" {
			pod = p
		}
	}
	return container, pod, nil
}

// parseCgroupPath returns the container id and the pod UID that a cgroup path
// names, "" for what it does not. The runtimes and their drivers write
//
//	/docker/<id>                                                  cgroupfs
//	/system.slice/docker-<id>.scope                               systemd
//	/system.slice/containerd.service/kubepods-…-pod<uid>.slice:cri-containerd:<id>
//	/kubepods/burstable/pod<uid>/<id>
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//	/kubepods.slice/…/crio-<id>.scope
//	/machine.slice/libpod-<id>.scope/container
//	/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope
//
// Of a container within a container the outermost counts: the machine's runtime, and so
// Scope, knows that one. (Inside of it, its cgroup namespace hides it.)
func parseCgroupPath(path string) (container, pod string) {
	for part := range strings.SplitSeq(path, "/") {
		for name := range strings.SplitSeq(part, ":") {
			if container == "" {
				container = containerID(strings.TrimSuffix(name, ".scope"))
			}
			if pod == "" {
				pod = podUID(strings.TrimSuffix(name, ".slice"))
			}
		}
	}
	return container, pod
}

// containerID returns the container that a cgroup is named after: <id> or
// <runtime>-<id>.
func containerID(name string) string {
	const length = 64
	if len(name) < length {
		return ""
	}
	runtime, id := name[:len(name)-length], name[len(name)-length:]
	if !isHex(id) {
		return ""
	}
	switch {
	case runtime == "":
		return id
	case !strings.HasSuffix(runtime, "-"):
		return ""
	case strings.HasSuffix(runtime, "conmon-"):
		// libpod-conmon-<id>.scope holds the container's monitor, which runs outside.
		return ""
	}
	return id
}

// podUID returns the UID of the pod that a cgroup is named after: pod<uid>, or
// kubepods-…-pod<uid> with the dashes of the UID as underscores, since systemd
// takes a dash for a level of the hierarchy. The UID of a static pod is the
// hash of its manifest, in 32 hex digits; Scope shows these pods by it, too.
func podUID(name string) string {
	i := strings.LastIndex(name, "pod")
	if i < 0 || i > 0 && name[i-1] != '-' {
		return ""
	}
	uid := strings.ReplaceAll(name[i+len("pod"):], "_", "-")
	switch len(uid) {
	case 32:
		if isHex(uid) {
			return uid
		}
	case 36:
		if uid[8] == '-' && uid[13] == '-' && uid[18] == '-' && uid[23] == '-' &&
			isHex(uid[:8]+uid[9:13]+uid[14:18]+uid[19:23]+uid[24:]) {
			return uid
		}
	}
	return ""
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
