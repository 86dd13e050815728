package socket

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// Containers come and go, and their addresses with them; as long as nothing does, the
// namespaces are not gone through.
func TestLookup(t *testing.T) {
	tree, table := fixture(t)
	expect := func(what, address string, want uint64) {
		t.Helper()
		if ns, ok := table.NetNSOf(netip.MustParseAddr(address)); ns != want || ok != (want != 0) {
			t.Errorf("%s: %s is in %d (%v), want %d", what, address, ns, ok, want)
		}
	}
	tree.Net(hosttest.InitNetNS, nil, []string{"192.168.1.2"})
	tree.Net(containerNS, nil, []string{"172.17.0.2", "172.18.0.9"})
	tree.Net(containerNS+1, nil, []string{"172.18.0.9"})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "web", NetNS: containerNS})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "web", NetNS: containerNS})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "other", NetNS: containerNS + 1})
	expect("a container", "172.17.0.2", containerNS)
	expect("two containers", "172.18.0.9", 0)
	expect("here", "192.168.1.2", hosttest.InitNetNS)

	built := table.addresses.built
	tree.Remove(100)
	tree.Advance(addressInterval)
	expect("with its other process", "172.17.0.2", containerNS)
	expect("still here", "192.168.1.2", hosttest.InitNetNS)
	if table.addresses.built != built {
		t.Error("all namespaces were gone through for addresses that are known")
	}

	tree.Remove(101)
	tree.Net(containerNS+2, nil, []string{"172.17.0.2"})
	tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "web", NetNS: containerNS + 2})
	expect("after a restart", "172.17.0.2", containerNS+2)
	expect("of two containers one is left, which is too early to know of", "172.18.0.9", containerNS+1)

	tree.Remove(110)
	tree.Net(containerNS+2, nil, []string{"172.17.0.3"})
	tree.Add(hosttest.Process{PID: 120, PPID: 1, Comm: "another", NetNS: containerNS + 2})
	tree.Advance(addressInterval)
	expect("its namespace's number is another's", "172.17.0.2", 0)
	expect("the other one", "172.17.0.3", containerNS+2)

	tree.Remove(120)
	tree.Net(containerNS+2, nil, []string{"172.17.0.4"})
	tree.Add(hosttest.Process{PID: 130, PPID: 1, Comm: "a third", NetNS: containerNS + 2})
	expect("its namespace's number is another's, too early to look again", "172.17.0.3", 0)
	tree.Advance(addressInterval)
	expect("looked again", "172.17.0.4", containerNS+2)
}

func TestLookupAmbiguous(t *testing.T) {
	tree, table := fixture(t)
	address := netip.MustParseAddr("172.18.0.9")
	for i := range 2 {
		tree.Net(containerNS+uint64(i), nil, []string{address.String()})
		tree.Add(hosttest.Process{PID: 100 + i, PPID: 1, Comm: "web", NetNS: containerNS + uint64(i)})
	}
	for _, step := range []struct {
		what string
		do   func()
		want uint64
	}{
		{"two containers", func() {}, 0},
		{"one is left, too early to look again", func() { tree.Remove(100) }, 0},
		{"looked again", func() { tree.Advance(addressInterval) }, containerNS + 1},
	} {
		step.do()
		if ns, ok := table.NetNSOf(address); ns != step.want || ok != (step.want != 0) {
			t.Errorf("%s: in %d (%v), want %d", step.what, ns, ok, step.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.0
        /32 link BROADCAST
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
`
	want := []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("127.0.0.1")}
	if got := parseFibTrie(trie); !cmp.Equal(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("fib_trie: %v", got)
	}
	const inet6 = `00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000042acafffe000001 02 40 20 80     eth0
20010db8000000000000000000000002 02 40 00 80     eth0
garbage
`
	want = []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("2001:db8::2")}
	if got := parseIfInet6(inet6); !cmp.Equal(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("if_inet6: %v", got)
	}
}

// The addresses are those that the tables say, each time they say it.
func FuzzAddresses(f *testing.F) {
	f.Add("     |-- 10.1.2.3\n           /32 host LOCAL\n00000000000000000000000000000001 01 80 10 80       lo\n")
	f.Add("fe80000000000000042acafffe000001 02 40 20 80     eth0\n|-- 0.0.0.0\n/0 universe UNICAST\n|-- 127.0.0.1\n/32 host LOCAL\n")
	f.Fuzz(func(t *testing.T, content string) {
		for _, a := range parseFibTrie(content) {
			if !a.Is4() || !strings.Contains(content, a.String()) {
				t.Errorf("fib_trie says %s", a)
			}
		}
		for _, a := range parseIfInet6(content) {
			raw := a.As16()
			if !a.Is6() || a.IsLinkLocalUnicast() || !strings.Contains(strings.ToLower(content), hex.EncodeToString(raw[:])) {
				t.Errorf("if_inet6 says %s", a)
			}
		}
	})
}
