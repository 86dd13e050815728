package host

import (
	"bytes"
	"cmp"

	"github.com/promscope/promscope/mapping/cgroup"
)

// ContainerOf returns the container and the pod of a process, from its cgroup paths. It
// reads less than [Machine.Process].
func (m *Machine) ContainerOf(pid int) (container, pod string, err error) {
	var buf scratch
	content, err := m.readFile(pid, "cgroup", &buf)
	if err != nil {
		return "", "", processError(pid, err)
	}
	container, pod = parseCgroups(content)
	return container, pod, nil
}

// parseCgroups parses the content of /proc/PID/cgroup (cgroups(7)).
func parseCgroups(content []byte) (container, pod string) {
	// Version 1 has a line for each hierarchy, and runtimes do not use them all;
	// in the hybrid layout the line of version 2 is there, but says "/".
	for len(content) > 0 {
		var line []byte
		line, content, _ = bytes.Cut(content, []byte("\n"))
		path := bytes.IndexByte(line, '/') // behind the hierarchy's number and its controllers
		if path < 0 {
			continue
		}
		c := cgroup.Parse(string(line[path:]))
		container, pod = cmp.Or(container, c.Container), cmp.Or(pod, c.Pod)
	}
	return container, pod
}
