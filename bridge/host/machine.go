package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Options of a Machine. The zero value is this machine.
type Options struct {
	ProcRoot string // for tests: a tree of files that stands for /proc

	// OnExit is called when a process exits that Alive was asked about, from a
	// goroutine of its own. It hastens things and is not to be relied on: Alive does
	// without it. It is not called where processes are polled: without pidfds (Linux
	// before 5.3), with the /proc of another pid namespace, and beyond half of the file
	// descriptors that we may have.
	OnExit func()

	Hostname func() (string, error) // this process's host name; os.Hostname by default
	Now      func() time.Time       // the clock; time.Now by default
}

// Machine is the machine that this process runs on. It is safe for concurrent
// use.
type Machine struct {
	root     string
	fs       procfs.FS
	hostname func() (string, error)
	now      func() time.Time

	self identity

	processes *tracker
	groups    *groupIndex
	pids      *pidTable
}

// identity is who this process is, seen through the machine's procfs.
type identity struct {
	pid    int    // 0 if the procfs does not show us
	netns  uint64 // the network namespace that we are in; 0 if unknown
	pidns  uint64
	kernel bool // the procfs is one, and no tree of files: the kernel can be asked for more
	native bool // its pids are those of our own pid namespace
}

// New returns the machine of opts. The error says why its procfs cannot be
// read.
func New(opts Options) (*Machine, error) {
	if opts.ProcRoot == "" {
		opts.ProcRoot = procfs.DefaultMountPoint
	}
	if opts.Hostname == nil {
		opts.Hostname = os.Hostname
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	fs, err := procfs.NewFS(opts.ProcRoot)
	if err != nil {
		return nil, fmt.Errorf("opening procfs: %w", err)
	}
	m := &Machine{root: opts.ProcRoot, fs: fs, hostname: opts.Hostname, now: opts.Now}
	if _, err := m.uptime(); err != nil {
		return nil, fmt.Errorf("opening procfs: %w", err)
	}
	m.self = m.identify()

	m.processes = newTracker(m, opts.OnExit)
	m.groups = newGroupIndex(m)
	m.pids = newPIDTable(m)
	return m, nil
}

// Now returns the time by the machine's clock.
func (m *Machine) Now() time.Time { return m.now() }

// Close ends the watching of processes.
func (m *Machine) Close() { m.processes.close() }

// PID returns this process's own pid as the machine's procfs has it, or 0 if it
// is not there.
func (m *Machine) PID() int { return m.self.pid }

// NetNS returns the network namespace of this process as the inode number of
// /proc/self/ns/net, or 0 if that cannot be read.
func (m *Machine) NetNS() uint64 { return m.self.netns }

// initialPIDNS is the inode number of the pid namespace that the kernel begins with
// (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const initialPIDNS = 0xEFFFFFFC

// KernelPIDs reports whether the machine's pids are those that the kernel itself
// goes by, as in what eBPF programs count. They are not where the procfs is that of
// a container with a pid namespace of its own.
func (m *Machine) KernelPIDs() bool {
	return !m.self.native || m.self.pidns == 0 || m.self.pidns == initialPIDNS
}

// identify finds this process in the procfs. /proc/self is resolved by the pid
// namespace of the mount, so it also works for the host's /proc in a container.
func (m *Machine) identify() identity {
	target, err := os.Readlink(m.path("self"))
	if err != nil {
		return identity{}
	}
	pid, err := strconv.Atoi(target)
	if err != nil {
		return identity{}
	}
	self := identity{pid: pid}
	self.netns, _ = m.Namespace(pid, "net")
	self.pidns, _ = m.Namespace(pid, "pid")
	var stat unix.Statfs_t
	self.kernel = unix.Statfs(m.root, &stat) == nil && stat.Type == unix.PROC_SUPER_MAGIC
	// With one id only, no pid namespace lies between the procfs and us.
	ids, err := m.NSPIDs(pid)
	self.native = self.kernel && err == nil && len(ids) == 1
	return self
}

// path returns the path of a file below the procfs root.
func (m *Machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.root}, elem...)...)
}

// Path returns the path of a file of a process: that of "root" is the process's root
// directory, seen from here for as long as it lives.
func (m *Machine) Path(pid int, name string) string {
	return m.root + "/" + strconv.Itoa(pid) + "/" + name
}

// PIDs returns the pids of all processes, in no particular order.
func (m *Machine) PIDs() ([]int, error) {
	dir, err := os.Open(m.root)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// gone reports whether err means that the process ended: its directory is not
// there (ENOENT) or it ended between opening and reading a file (ESRCH).
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoProcess)
}
