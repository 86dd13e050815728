package discovery

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/promscope/promscope/bridge/host/socket"
)

// Claim is an endpoint that another job scrapes already.
type Claim struct {
	Address    string // host:port, as in the target's URL
	UnixSocket string // or the path of its unix socket
	Path       string // of the URL
}

// claims are the listeners that other jobs scrape.
type claims struct {
	unix map[[2]string]bool
	tcp  map[claimedPort][]netip.Addr
}

type claimedPort struct {
	netns uint64
	port  uint16
	path  string
}

// newClaims finds out which listeners are claimed. It resolves localhost and this
// host's name, and no other: a local target that a job names through DNS is scraped
// twice.
func newClaims(all []Claim, sockets *socket.Table, hostname string) claims {
	c := claims{unix: map[[2]string]bool{}, tcp: map[claimedPort][]netip.Addr{}}
	for _, claim := range all {
		if claim.UnixSocket != "" {
			c.unix[[2]string{claim.UnixSocket, claim.Path}] = true
			continue
		}
		i := strings.LastIndexByte(claim.Address, ':')
		if i < 0 {
			continue
		}
		port, err := strconv.ParseUint(claim.Address[i+1:], 10, 16)
		if err != nil {
			continue
		}
		name := strings.Trim(claim.Address[:i], "[]")
		addr, err := netip.ParseAddr(name)
		switch {
		case err == nil:
			addr = addr.Unmap()
		case name == "localhost" || name == hostname:
			addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		default:
			continue
		}
		netns, ok := sockets.NetNSOf(addr)
		if !ok {
			continue
		}
		key := claimedPort{netns, uint16(port), claim.Path}
		c.tcp[key] = append(c.tcp[key], addr)
	}
	return c
}

// claimed reports whether the endpoint is scraped by another job.
func (c claims) claimed(e endpoint) bool {
	if e.Path != "" {
		return c.unix[[2]string{e.Path, e.path}]
	}
	listens := e.Addr.Addr()
	for _, addr := range c.tcp[claimedPort{e.NetNS, e.Addr.Port(), e.path}] {
		if listens.IsUnspecified() || listens == addr || listens.IsLoopback() && addr.IsLoopback() {
			return true
		}
	}
	return false
}
