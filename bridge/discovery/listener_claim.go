package discovery

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/discovery/targetgroup"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Claim is an endpoint that a job names, and scrapes.
type Claim struct {
	Address    string // host:port, as in the target's URL
	UnixSocket string // or the path of its unix socket
	Path       string // of the URL
}

// claimsOf returns the endpoints of a group's targets.
func claimsOf(j *job.Config, g *targetgroup.Group) []Claim {
	targets, _ := job.TargetsOf(j, g)
	claims := make([]Claim, len(targets))
	for i, t := range targets {
		claims[i] = Claim{Address: t.URL.Host, UnixSocket: t.UnixSocket(), Path: t.URL.Path}
	}
	return claims
}

// claims are the listeners that jobs name.
type claims struct {
	machine *host.Machine
	unix    []Claim
	tcp     map[claimedPort][]netip.Addr // one that is not valid is any address
}

type claimedPort struct {
	netns uint64
	port  uint16
	path  string
}

// newClaims finds out which listeners are claimed. It knows localhost and this host's
// name, and no other: a local target that a job names through DNS is scraped twice.
func (p *Prober) newClaims(all []Claim, hostname string) claims {
	c := claims{machine: p.machine, tcp: map[claimedPort][]netip.Addr{}}
	for _, claim := range all {
		if claim.UnixSocket != "" {
			c.unix = append(c.unix, claim)
			continue
		}
		i := strings.LastIndexByte(claim.Address, ':')
		if i < 0 {
			continue
		}
		number, err := strconv.ParseUint(claim.Address[i+1:], 10, 16)
		if err != nil {
			continue
		}
		port := uint16(number)
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
		netns, ok := p.sockets.NetNSOf(addr)
		if !ok {
			continue
		}
		if target, ok := p.sockets.Published(p.ctx, netip.AddrPortFrom(addr, port)); ok {
			if netns, ok := p.sockets.NetNSOf(target.Addr()); ok {
				c.add(claimedPort{netns, target.Port(), claim.Path}, target.Addr())
			}
		}
		if name == hostname {
			addr = netip.Addr{}
		}
		c.add(claimedPort{netns, port, claim.Path}, addr)
	}
	return c
}

func (c claims) add(port claimedPort, addr netip.Addr) { c.tcp[port] = append(c.tcp[port], addr) }

// unclaimed returns the endpoints of the services that no job names by any of their
// addresses.
func (c claims) unclaimed(endpoints []endpoint) []endpoint {
	claimed := map[service]bool{}
	for _, e := range endpoints {
		if c.claimed(e) {
			claimed[e.service()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(endpoints), func(e endpoint) bool { return claimed[e.service()] })
}

// claimed reports whether a job names the endpoint.
func (c claims) claimed(e endpoint) bool {
	if e.Path != "" {
		return slices.ContainsFunc(c.unix, func(claim Claim) bool {
			return claim.Path == e.path && c.sameFile(claim.UnixSocket, e.socketPath(c.machine))
		})
	}
	listens := e.Addr.Addr()
	return slices.ContainsFunc(c.tcp[claimedPort{e.NetNS, e.Addr.Port(), e.path}], func(addr netip.Addr) bool {
		return !addr.IsValid() || listens.IsUnspecified() || listens == addr || listens.IsLoopback() && addr.IsLoopback()
	})
}

// sameFile reports whether two paths lead to one file. A container may have a directory of
// the host, at the same path or at another one.
func (c claims) sameFile(a, b string) bool {
	if a == b {
		return true
	}
	first, err := c.stat(a)
	if err != nil {
		return false
	}
	second, err := c.stat(b)
	return err == nil && os.SameFile(first, second)
}

// stat follows a path as socket.Table.DialContext does.
func (c claims) stat(path string) (os.FileInfo, error) {
	pid, inside, ok := c.machine.SplitRoot(path)
	if !ok {
		return os.Stat(path)
	}
	file, err := c.machine.OpenInRoot(pid, inside, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Stat()
}
