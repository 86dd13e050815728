package host

import "fmt"

// Namespace returns the inode number of a process's namespace of a kind (net,
// pid, uts). Of another user's process only CAP_SYS_PTRACE may read it.
func (m *Machine) Namespace(pid int, kind string) (inode uint64, err error) {
	inode, ok, err := readLink(m.Path(pid, "ns/"+kind), kind)
	if err != nil {
		return 0, processError(pid, err)
	}
	if !ok {
		return 0, fmt.Errorf("process %d: %s namespace: unexpected link", pid, kind)
	}
	return inode, nil
}
