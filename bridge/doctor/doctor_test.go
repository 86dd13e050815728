package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/rights"
	"github.com/promscope/promscope/ebpf/collector"
)

// A finding in short: its verdict, and words of it or of its remedy.
type expected struct {
	verdict Verdict
	words   string
}

func (e expected) check(t *testing.T, f Finding) {
	t.Helper()
	if f.Verdict != e.verdict || !strings.Contains(f.Finding+" → "+f.Remedy, e.words) {
		t.Errorf("got %+v, want %s: %s", f, e.verdict, e.words)
	}
	if f.Verdict == VerdictFail && f.Remedy == "" {
		t.Errorf("%+v: a failure without a remedy", f)
	}
}

func TestKernel(t *testing.T) {
	lockdown := func(content string) kernel {
		file := filepath.Join(t.TempDir(), "lockdown")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return kernel{lockdownFile: file}
	}
	expected{VerdictOK, "integrity"}.check(t, lockdown("none [integrity] confidentiality\n").lockdown())
	expected{VerdictOK, "none"}.check(t, lockdown("[none] integrity confidentiality\n").lockdown())
	expected{VerdictWarn, "lockdown=integrity"}.check(t, lockdown("none integrity [confidentiality]\n").lockdown())
	expected{VerdictOK, "none, as far"}.check(t, kernel{lockdownFile: filepath.Join(t.TempDir(), "x")}.lockdown())

	expected{VerdictOK, "Linux"}.check(t, newKernel().release())
	expected{VerdictWarn, "broken"}.check(t, kernel{uname: func(*unix.Utsname) error { return errors.New("broken") }}.release())

	btf := func(err error) kernel { return kernel{spec: func() error { return err }} }
	expected{VerdictOK, "describes"}.check(t, btf(nil).btf())
	expected{VerdictWarn, "no types → run another"}.check(t, btf(&collector.Error{Reason: "no types", Remedy: "run another"}).btf())
	expected{VerdictWarn, "torn"}.check(t, btf(errors.New("torn")).btf())

	missing := func(names ...string) kernel {
		return kernel{missingBPF: func() ([]string, error) { return names, nil }}
	}
	expected{VerdictOK, "are there"}.check(t, missing().capabilities())
	expected{VerdictWarn, "CAP_BPF and CAP_PERFMON missing: eBPF collectors stay off → grant CAP_BPF and CAP_PERFMON"}.check(t, missing("CAP_BPF", "CAP_PERFMON").capabilities())
}

// Whoever may not look into processes finds no target_pid, and is told so.
func TestProcesses(t *testing.T) {
	m := testPlugins(t).machine
	if first, err := m.Process(1); err != nil || first.Container != "" {
		t.Skip("this machine's first process is not to be seen")
	}
	needs := func(want expected, err error, has ...libcap.Value) {
		t.Helper()
		want.check(t, withRights(err, has...).processes(m))
	}
	needs(expected{VerdictOK, "process 1 is"}, nil, libcap.SYS_PTRACE, libcap.DAC_READ_SEARCH)
	needs(expected{VerdictOK, "process 1 is"}, nil, libcap.SYS_PTRACE, libcap.DAC_OVERRIDE)
	needs(expected{VerdictWarn, "what they serve: CAP_DAC_READ_SEARCH missing → grant CAP_DAC_READ_SEARCH"}, nil, libcap.SYS_PTRACE)
	needs(expected{VerdictWarn, "what they serve: CAP_SYS_PTRACE missing → grant CAP_SYS_PTRACE ("}, nil, libcap.DAC_OVERRIDE)
	needs(expected{VerdictWarn, "no target_pid for what they serve: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH missing"}, nil)
	needs(expected{VerdictWarn, "not permitted"}, unix.EPERM)
}

// withRights is the check of a kernel that gives this process those capabilities.
func withRights(err error, has ...libcap.Value) kernel {
	return kernel{missing: func(values ...libcap.Value) (missing []string, _ error) {
		for _, v := range values {
			if !slices.Contains(has, v) {
				missing = append(missing, rights.Name(v))
			}
		}
		return missing, err
	}}
}

// Without CAP_SYS_PTRACE promscope enters its own namespace, and none of another process.
func TestNamespaces(t *testing.T) {
	needs := func(want expected, enter error, has ...libcap.Value) {
		t.Helper()
		k := withRights(nil, has...)
		k.enter = func(*host.Machine) error { return enter }
		want.check(t, k.namespaces(nil))
	}
	needs(expected{VerdictOK, "may be entered"}, nil, libcap.SYS_ADMIN, libcap.SYS_PTRACE)
	needs(expected{VerdictWarn, "cannot be found: CAP_SYS_PTRACE missing → grant CAP_SYS_PTRACE"}, nil, libcap.SYS_ADMIN)
	needs(expected{VerdictWarn, "cannot be found: CAP_SYS_ADMIN missing → grant CAP_SYS_ADMIN"}, nil, libcap.SYS_PTRACE)
	needs(expected{VerdictWarn, "forbidden here → let promscope see the host's processes"}, errors.New("forbidden here"), libcap.SYS_ADMIN, libcap.SYS_PTRACE)
	expected{VerdictWarn, "not permitted"}.check(t, withRights(unix.EPERM).namespaces(nil))
}

func testPlugins(t *testing.T) *plugins {
	t.Helper()
	m, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return newPlugins(t.TempDir(), "promscope", m)
}

func TestRoot(t *testing.T) {
	c := testPlugins(t)
	expected{VerdictOK, "is there and writable"}.check(t, c.directory())
	root := c.root
	c.root = filepath.Join(root, "a", "b")
	expected{VerdictWarn, "mkdir -p " + c.root}.check(t, c.directory())
	// A root that is another user's does, where promscope's own directory is there.
	c.root = "/proc/sys"
	c.id = "kernel"
	expected{VerdictFail, "/proc/sys is not writable"}.check(t, c.directory())
	c.root, c.id = filepath.Join(root, "shared"), "promscope"
	if err := os.MkdirAll(filepath.Join(c.root, c.id), 0o755); err != nil {
		t.Fatal(err)
	}
	expected{VerdictOK, "promscope is there and writable"}.check(t, c.directory())
	c.root = filepath.Join(root, "file")
	if err := os.WriteFile(c.root, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expected{VerdictFail, "is no directory"}.check(t, c.directory())
	c.root = filepath.Join(root, "file", "x")
	expected{VerdictFail, "not a directory"}.check(t, c.directory())
	c.root = "/proc/sys/x" // nobody can make a directory there
	if f := c.directory(); f.Verdict == VerdictOK {
		t.Errorf("%+v", f)
	}
}

// A probe in a container has its own root; what it sees there counts, also where
// an absolute symbolic link leads.
func TestProbes(t *testing.T) {
	tree := hosttest.New(t)
	m, err := host.New(host.Options{ProcRoot: tree.Root})
	if err != nil {
		t.Fatal(err)
	}
	c := newPlugins(t.TempDir(), "promscope", m)
	for _, f := range c.probes(c.findProbes()) {
		expected{VerdictWarn, "no running probe"}.check(t, f)
	}
	const now, before = uint64(hosttest.Uptime / (10 * time.Millisecond)), 1000 // in ticks
	process := func(pid int, start uint64, args ...string) (root string) {
		tree.Add(hosttest.Process{PID: pid, Comm: "scope", StartTicks: start, Cmdline: args})
		return filepath.Join(tree.Root, strconv.Itoa(pid), "root")
	}
	process(100, now, "/usr/bin/scope", "--mode=app")
	process(101, now, "grep", "--probe.plugins.root=/x", "scope-probe")
	same := process(102, now, "scope-probe", "--mode=probe", "--probe.plugins.root="+c.root)
	process(103, now, "/home/weave/scope", "--mode", "probe", "--probe.plugins.root", "/plugins")
	process(104, now, "scope-probe", "--mode=probe")
	linked := process(105, now, "scope-probe", "--probe.plugins.root=/var/run/plugins")
	older := process(106, before, "scope-probe", "--probe.plugins.root="+c.root)

	// These see our directory, as a bind mount shows it: their root is ours.
	for _, root := range []string{same, older} {
		if err := errors.Join(os.RemoveAll(root), os.Symlink("/", root)); err != nil {
			t.Fatal(err)
		}
	}
	// /var/run -> /run inside of that root.
	if err := errors.Join(
		os.MkdirAll(filepath.Join(linked, "run", "plugins"), 0o755),
		os.Mkdir(filepath.Join(linked, "var"), 0o755),
		os.Symlink("/run", filepath.Join(linked, "var", "run")),
	); err != nil {
		t.Fatal(err)
	}

	probes := c.findProbes()
	var roots []string
	for _, p := range probes {
		roots = append(roots, p.root)
	}
	if diff := cmp.Diff([]string{c.root, "/plugins", "/var/run/scope/plugins", "/var/run/plugins", c.root}, roots); diff != "" {
		t.Fatal(diff)
	}
	want := []expected{
		{VerdictOK, "looks into the same directory"},
		{VerdictFail, "(pid 103) looks for plugins in /plugins, which is not there"},
		{VerdictFail, "/var/run/scope/plugins, which is not there"},
		{VerdictFail, "which is another directory than promscope's " + c.root + " → share the directory"},
		{VerdictFail, "restart the probe"},
	}
	_, born, err := c.statIn(0, c.root)
	if err != nil {
		t.Fatal(err)
	}
	if born.IsZero() { // the file system does not tell when a directory was made
		want[4] = want[0]
	}
	for i, f := range c.probes(probes) {
		want[i].check(t, f)
	}
}

// Linux before 5.6, and seccomp profiles that are as old, have no openat2. The directories
// are compared without it, unless an absolute symbolic link leads to the probe's.
func TestProbesWithoutOpenat2(t *testing.T) {
	tree := hosttest.New(t)
	m, err := host.New(host.Options{ProcRoot: tree.Root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	c := newPlugins(t.TempDir(), "promscope", m)
	for pid, root := range map[int]string{102: c.root, 103: "/other", 104: "/missing", 105: "/absolute"} {
		tree.Add(hosttest.Process{PID: pid, Comm: "scope", StartTicks: uint64(hosttest.Uptime / (10 * time.Millisecond)),
			Cmdline: []string{"scope-probe", "--probe.plugins.root=" + root}})
	}
	root := func(pid string) string { return filepath.Join(tree.Root, pid, "root") }
	if err := errors.Join(
		os.RemoveAll(root("102")), os.Symlink("/", root("102")),
		os.Mkdir(filepath.Join(root("103"), "other"), 0o755),
		os.Symlink("/other", filepath.Join(root("105"), "absolute")),
	); err != nil {
		t.Fatal(err)
	}
	var got []Finding
	withoutOpenat2(t, func() { got = c.probes(c.findProbes()) })
	want := []expected{
		{VerdictOK, "looks into the same directory"},
		{VerdictFail, "(pid 103) looks for plugins in /other, which is another directory"},
		{VerdictFail, "/missing, which is not there"},
		{VerdictWarn, "cannot be told: opening /absolute of process 105: openat absolute: path escapes from parent → see to it that both are the same directory"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, f := range got {
		want[i].check(t, f)
	}
}

// withoutOpenat2 calls f on a thread that has no such system call, and ends it.
func withoutOpenat2(t *testing.T, f func()) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.SYS_OPENAT2, Jf: 1},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // until the goroutine ends, and the thread with it
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip("this kernel has no seccomp filters: ", err)
	}
}

func TestSockets(t *testing.T) {
	c := testPlugins(t)
	for _, f := range c.sockets(t.Context()) {
		expected{VerdictOK, "promscope's will be " + c.socketPath()}.check(t, f)
	}
	listen := func(path string, stale bool) {
		t.Helper()
		path = filepath.Join(c.root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(!stale)
		if stale {
			l.Close()
			return
		}
		t.Cleanup(func() { l.Close() })
	}
	listen("a/a.sock", false)
	listen("b/b.sock", true)
	listen("c/under_score.sock", false)
	listen("promscope/promscope.sock", true)
	want := []expected{
		{VerdictOK, "a.sock is another plugin's, "},
		{VerdictWarn, "nobody listens on"},
		{VerdictWarn, "will never be polled"},
		{VerdictWarn, "promscope takes it over"},
	}
	got := c.sockets(t.Context())
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		want[i].check(t, got[i])
	}
	expected{VerdictOK, "(pid " + strconv.Itoa(os.Getpid()) + ")"}.check(t, got[0])

	if err := os.Remove(c.socketPath()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.socketPath(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got = c.sockets(t.Context())
	expected{VerdictFail, "is no socket"}.check(t, got[len(got)-1])
}

func TestDiagnosisText(t *testing.T) {
	d := Diagnosis{Findings: []Finding{good("kernel", "fine"), warning("plugins root", "do this\nor that", "\x1b[31mred\ntwo lines"), failure("x", "help", "bad")}}
	var out strings.Builder
	if err := d.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	want := `ok    kernel        fine
warn  plugins root  ` + "\ufffd" + `[31mred
                    two lines
                    → do this
                      or that
fail  x             bad
                    → help
`
	if diff := cmp.Diff(want, out.String()); diff != "" || d.OK() {
		t.Error(diff)
	}
}
