package discovery

import (
	"net/netip"
	"testing"

	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
)

func TestClaims(t *testing.T) {
	tree := fixtureTree(t)
	p, _ := newTestProber(t, tree.Root, nil)
	own := func(address string) endpoint {
		return endpoint{Listener: socket.Listener{NetNS: hosttest.InitNetNS, Addr: netip.MustParseAddrPort(address)}, path: "/metrics"}
	}
	web := endpoint{Listener: socket.Listener{NetNS: containerNS, Addr: netip.MustParseAddrPort("0.0.0.0:9100")}, path: "/metrics"}
	unixSocket := endpoint{Listener: socket.Listener{NetNS: hosttest.InitNetNS, Path: "/run/x.sock"}, path: "/metrics"}
	for _, tc := range []struct {
		claim Claim
		e     endpoint
		want  bool
	}{
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("127.0.0.1:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("[::1]:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("192.168.1.2:9100"), false},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, web, false},
		{Claim{Address: "localhost:9100", Path: "/other"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "localhost:9101", Path: "/metrics"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "my-host:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "other-host:9100", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("192.168.1.2:9100"), true},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "192.168.1.3:9100", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "172.17.0.2:9100", Path: "/metrics"}, web, true},
		{Claim{Address: "[::1]:9100", Path: "/metrics"}, own("[::]:9100"), true},
		{Claim{Address: "no-port", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "localhost:http", Path: "/metrics"}, own("0.0.0.0:80"), false},
		{Claim{UnixSocket: "/run/x.sock", Path: "/metrics"}, unixSocket, true},
		{Claim{UnixSocket: "/run/y.sock", Path: "/metrics"}, unixSocket, false},
	} {
		if got := newClaims([]Claim{tc.claim}, p.sockets, "my-host").claimed(tc.e); got != tc.want {
			t.Errorf("%+v claims %v: %v", tc.claim, tc.e.Addr, got)
		}
	}
}
