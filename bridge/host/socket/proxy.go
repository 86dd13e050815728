package socket

import (
	"net"
	"net/netip"

	"github.com/promscope/promscope/bridge/host"
)

// proxyTarget returns where a docker-proxy forwards to: what it was told on its
// command line. It stands in front of each published port, unless Docker was
// configured to do without.
func proxyTarget(m *host.Machine, p host.Process) (netip.AddrPort, bool) {
	if p.Comm != "docker-proxy" {
		return netip.AddrPort{}, false
	}
	args, err := m.CmdLine(p.PID)
	if err != nil {
		return netip.AddrPort{}, false
	}
	flags := map[string]string{}
	for i := 1; i < len(args); i++ {
		flags[args[i-1]] = args[i]
	}
	target, err := netip.ParseAddrPort(net.JoinHostPort(flags["-container-ip"], flags["-container-port"]))
	return target, err == nil
}
