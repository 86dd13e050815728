package socket

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// addressInterval is how often the addresses of all network namespaces are read at
// most. They are read for an address that is not known, or not for sure.
const addressInterval = 10 * time.Second

// addressTable knows which network namespace an address is in.
type addressTable struct {
	machine   *host.Machine
	listeners *listenerTable

	mu         sync.Mutex
	namespaces map[netip.Addr]uint64 // 0 for an address that is in several
	members    map[uint64][]int      // some processes in each namespace at that time
	built      time.Time
}

// NetNSOf returns the network namespace that has an address, seen from ours: our own, or
// that of a container. It is not ok if the address is on another machine, or in several
// containers.
func (t *Table) NetNSOf(addr netip.Addr) (netns uint64, ok bool) {
	return t.addresses.lookup(t.machine.NetNS(), addr.Unmap().WithZone(""))
}

// lookup returns the network namespace of this machine that has the address. A loopback
// address is in the namespace from. It is not ok if the address is on another machine,
// or in several namespaces other than ours.
func (t *addressTable) lookup(from uint64, addr netip.Addr) (ns uint64, ok bool) {
	if addr.IsLoopback() {
		return from, true
	}
	now := t.machine.Now()
	t.mu.Lock()
	ns, members := t.namespaces[addr], t.members
	due := now.Sub(t.built) >= addressInterval
	t.mu.Unlock()
	if t.lives(ns, members) {
		return ns, true
	}
	if !due {
		return 0, false
	}
	// Not under the lock, which other targets would wait for. Two of them may read the
	// addresses at the same time, and find the same.
	members, err := t.listeners.listNamespaces()
	if err != nil {
		return 0, false
	}
	namespaces := namespaceAddresses(t.machine, members)
	t.mu.Lock()
	t.namespaces, t.members, t.built = namespaces, members, now
	t.mu.Unlock()
	ns = namespaces[addr]
	return ns, ns != 0
}

// lives reports whether a namespace is still the one whose addresses were read. The
// kernel soon uses the number of a namespace again, and a container that is started
// again may have its old addresses. So one of the processes of that time has to be in
// the namespace still.
func (t *addressTable) lives(ns uint64, members map[uint64][]int) bool {
	if ns == 0 {
		return false
	}
	return ns == t.machine.NetNS() || slices.ContainsFunc(members[ns], func(pid int) bool {
		now, err := t.machine.Namespace(pid, "net")
		return err == nil && now == ns
	})
}

// namespaceAddresses reads the addresses of network namespaces, given some
// processes in each.
func namespaceAddresses(m *host.Machine, members map[uint64][]int) map[netip.Addr]uint64 {
	table := map[netip.Addr]uint64{}
	for ns, pids := range members {
		for _, addr := range localAddresses(m, pids) {
			if addr.IsLoopback() {
				continue
			}
			switch known, ok := table[addr]; {
			case !ok || ns == m.NetNS():
				table[addr] = ns
			case known != ns && known != m.NetNS():
				table[addr] = 0 // networks of containers may repeat each other
			}
		}
	}
	return table
}

// localAddresses returns the addresses of the first of the processes whose
// tables can be read.
func localAddresses(m *host.Machine, pids []int) []netip.Addr {
	for _, pid := range pids {
		trie, err := os.ReadFile(m.Path(pid, "net/fib_trie"))
		if err != nil {
			continue
		}
		addrs := parseFibTrie(string(trie))
		if inet6, err := os.ReadFile(m.Path(pid, "net/if_inet6")); err == nil {
			addrs = append(addrs, parseIfInet6(string(inet6))...)
		}
		return addrs
	}
	return nil
}

// parseFibTrie returns the local addresses in /proc/PID/net/fib_trie, the one
// place where /proc shows IPv4 addresses: a leaf "|-- 10.0.0.2" that is followed
// by "/32 host LOCAL".
func parseFibTrie(content string) []netip.Addr {
	var addrs []netip.Addr
	var leaf netip.Addr
	lines := bufio.NewScanner(strings.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 2 && fields[0] == "|--":
			leaf, _ = netip.ParseAddr(fields[1])
		case len(fields) >= 3 && fields[0] == "/32" && fields[2] == "LOCAL" && leaf.IsValid():
			addrs = append(addrs, leaf)
			leaf = netip.Addr{} // the main table shows it once more
		}
	}
	return addrs
}

// parseIfInet6 returns the addresses in /proc/PID/net/if_inet6 that can be
// dialed without naming an interface.
func parseIfInet6(content string) []netip.Addr {
	var addrs []netip.Addr
	lines := bufio.NewScanner(strings.NewReader(content))
	for lines.Scan() {
		digits, _, _ := strings.Cut(lines.Text(), " ")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(raw); ok && addr.Is6() && !addr.IsLinkLocalUnicast() {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
