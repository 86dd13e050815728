package host

import "fmt"

// namespace returns the inode number of a process's namespace of a kind (net,
// pid, uts). Of another user's process only CAP_SYS_PTRACE may read it.
func (m *Machine) namespace(pid int, kind string) (uint64, error) {
	var buf scratch
	inode, ok, err := readLink(m.pidPath(pid, "ns/"+kind), kind, &buf)
	if err != nil {
		return 0, processError(pid, err)
	}
	if !ok {
		return 0, fmt.Errorf("process %d: %s namespace: unexpected link", pid, kind)
	}
	return inode, nil
}
