// Package hosttest makes trees of files that stand for a machine's /proc, for
// tests of what reads it.
package hosttest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Self is the pid to which a tree's /proc/self leads.
const Self = 10

// The namespaces of processes that name none.
const (
	InitNetNS = 4026531840
	InitPIDNS = 4026531836
	InitUTSNS = 4026531838
)

// Uptime is how long the machine has been up.
const Uptime = 100000 * time.Second

// Tree is a /proc of files, with a clock that stands still.
type Tree struct {
	Root string

	now  time.Time
	t    testing.TB
	nets string // tables of the network namespaces
	bin  string // what was removed
}

// Process is a process of a Tree. What is zero gets a value that is usual.
type Process struct {
	PID, PPID  int
	Comm       string
	Exe        string
	State      string // "S" by default
	StartTicks uint64 // 1000 + PID by default
	Cgroup     string // content of the cgroup file; "0::/" by default

	NetNS, PIDNS, UTSNS uint64
	NSPIDs              []int // the PID alone by default

	Sockets   []uint64 // inodes, under the descriptors from 3 on
	Cmdline   []string
	Environ   []string
	MountInfo string
	Hostname  string // of root/etc/hostname
}

// Socket is a row of a namespace's tables.
type Socket struct {
	Local  netip.AddrPort // TCP
	Remote netip.AddrPort // valid for a connection; else it listens
	V6     bool           // an IPv4 address in the table of IPv6 sockets
	Path   string         // a unix listener's instead
	Inode  uint64
}

// New returns a tree with the processes 1 (init) and Self.
func New(t testing.TB) *Tree {
	t.Helper()
	dir := t.TempDir()
	tree := &Tree{
		Root: filepath.Join(dir, "proc"), nets: filepath.Join(dir, "net"), bin: filepath.Join(dir, "bin"),
		now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), t: t,
	}
	for _, d := range []string{tree.Root, tree.nets, tree.bin} {
		tree.check(os.Mkdir(d, 0o700))
	}
	tree.write(filepath.Join(tree.Root, "uptime"), fmt.Sprintf("%.2f 0.00\n", Uptime.Seconds()))
	tree.link(strconv.Itoa(Self), filepath.Join(tree.Root, "self"))
	tree.Net(InitNetNS, nil, nil)
	tree.Add(Process{PID: 1, Comm: "systemd"})
	tree.Add(Process{PID: Self, PPID: 1, Comm: "promscope"})
	return tree
}

// Now returns the time by the tree's clock.
func (tree *Tree) Now() time.Time { return tree.now }

// Advance sets the clock on, and the uptime does not follow.
func (tree *Tree) Advance(d time.Duration) { tree.now = tree.now.Add(d) }

// Boot returns when the machine was booted, as long as its clock stands.
func (tree *Tree) Boot() time.Time { return tree.now.Add(-Uptime) }

// Add adds a process, or replaces the one that has its pid.
func (tree *Tree) Add(p Process) {
	tree.t.Helper()
	if p.State == "" {
		p.State = "S"
	}
	if p.StartTicks == 0 {
		p.StartTicks = uint64(1000 + p.PID)
	}
	if p.Cgroup == "" {
		p.Cgroup = "0::/\n"
	}
	if p.NSPIDs == nil {
		p.NSPIDs = []int{p.PID}
	}
	if p.Exe == "" {
		p.Exe = "/usr/bin/" + p.Comm
	}
	tree.Remove(p.PID)
	dir := filepath.Join(tree.Root, strconv.Itoa(p.PID))
	for _, d := range []string{"", "ns", "fd", "root/etc"} {
		tree.check(os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	write := func(name, content string) { tree.write(filepath.Join(dir, name), content) }
	link := func(name, target string) { tree.link(target, filepath.Join(dir, name)) }

	write("stat", fmt.Sprintf("%d (%s) %s %d 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 %d 1000 10 18446744073709551615"+
		" 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", p.PID, p.Comm, p.State, p.PPID, p.StartTicks))
	write("status", fmt.Sprintf("Name:\t%s\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\nNSpid:\t%s\n",
		p.Comm, p.PID, p.PID, p.PPID, strings.Trim(strings.ReplaceAll(fmt.Sprint(p.NSPIDs), " ", "\t"), "[]")))
	write("cgroup", p.Cgroup)
	write("cmdline", strings.Join(p.Cmdline, "\x00")+"\x00")
	write("environ", strings.Join(p.Environ, "\x00")+"\x00")
	write("mountinfo", p.MountInfo)
	if p.Hostname != "" {
		write("root/etc/hostname", p.Hostname+"\n")
	}
	link("exe", p.Exe)
	net := or(p.NetNS, InitNetNS)
	link("ns/net", fmt.Sprintf("net:[%d]", net))
	link("ns/pid", fmt.Sprintf("pid:[%d]", or(p.PIDNS, InitPIDNS)))
	link("ns/uts", fmt.Sprintf("uts:[%d]", or(p.UTSNS, InitUTSNS)))
	link("net", filepath.Join(tree.nets, strconv.FormatUint(net, 10)))
	link("fd/0", "/dev/null")
	for i, inode := range p.Sockets {
		link(fmt.Sprintf("fd/%d", 3+i), fmt.Sprintf("socket:[%d]", inode))
	}
}

// Remove ends a process.
func (tree *Tree) Remove(pid int) {
	tree.t.Helper()
	dir := filepath.Join(tree.Root, strconv.Itoa(pid))
	if _, err := os.Lstat(dir); err != nil {
		return
	}
	gone, err := os.MkdirTemp(tree.bin, "")
	tree.check(err)
	tree.check(os.Rename(dir, filepath.Join(gone, "proc")))
}

// Net sets the sockets and the IPv4 addresses of a network namespace.
func (tree *Tree) Net(ns uint64, sockets []Socket, addrs []string) {
	tree.t.Helper()
	dir := filepath.Join(tree.nets, strconv.FormatUint(ns, 10))
	tree.check(os.MkdirAll(dir, 0o700))

	const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	var tcp, tcp6, unix, trie strings.Builder
	tcp.WriteString(header)
	tcp6.WriteString(header)
	unix.WriteString("Num       RefCount Protocol Flags    Type St Inode Path\n")
	for i, s := range sockets {
		if s.Path != "" {
			fmt.Fprintf(&unix, "0000000000000000: 00000002 00000000 00010000 0001 01 %d %s\n", s.Inode, s.Path)
			continue
		}
		state := "01"
		if !s.Remote.IsValid() {
			state, s.Remote = "0A", netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
		six := s.V6 || s.Local.Addr().Is6()
		row := fmt.Sprintf("%4d: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 100 0 0 10 0\n",
			i, hexAddr(s.Local, six), hexAddr(s.Remote, six), state, s.Inode)
		if six {
			tcp6.WriteString(row)
		} else {
			tcp.WriteString(row)
		}
	}
	tree.write(filepath.Join(dir, "tcp"), tcp.String())
	tree.write(filepath.Join(dir, "tcp6"), tcp6.String())
	tree.write(filepath.Join(dir, "unix"), unix.String())

	trie.WriteString("Main:\n  +-- 0.0.0.0/0 3 0 5\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n")
	for _, a := range addrs {
		fmt.Fprintf(&trie, "     |-- %s\n        /32 host LOCAL\n", a)
	}
	tree.write(filepath.Join(dir, "fib_trie"), trie.String())
	tree.write(filepath.Join(dir, "if_inet6"), "00000000000000000000000000000001 01 80 10 80       lo\n")
}

// hexAddr writes an address as /proc/net/tcp does: 32-bit words in the byte
// order of the machine, here a little-endian one.
func hexAddr(a netip.AddrPort, six bool) string {
	raw := a.Addr().AsSlice()
	if six {
		as16 := a.Addr().As16()
		if a.Addr() == netip.IPv4Unspecified() {
			as16 = [16]byte{}
		}
		raw = as16[:]
	}
	var b strings.Builder
	for i := 0; i < len(raw); i += 4 {
		fmt.Fprintf(&b, "%02X%02X%02X%02X", raw[i+3], raw[i+2], raw[i+1], raw[i])
	}
	return fmt.Sprintf("%s:%04X", b.String(), a.Port())
}

func or(value, otherwise uint64) uint64 {
	if value == 0 {
		return otherwise
	}
	return value
}

func (tree *Tree) write(path, content string) {
	tree.t.Helper()
	tree.check(os.WriteFile(path, []byte(content), 0o600))
}

func (tree *Tree) link(target, path string) {
	tree.t.Helper()
	tree.check(os.Symlink(target, path))
}

func (tree *Tree) check(err error) {
	tree.t.Helper()
	if err != nil {
		tree.t.Fatal(err)
	}
}
