package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts are the names and addresses that the server answers to. A page of another
// site may have its own name resolve to 127.0.0.1 and then read all that a browser on
// this machine can reach (DNS rebinding); the browser still says by which name it came.
type hosts struct {
	loopback bool     // the server listens on a loopback address
	allowed  []string // besides, in lower case
}

// newHosts takes the names of the flag, and the one that the server was told to listen on.
func newHosts(listener net.Addr, listenAddress string, allowed []string) hosts {
	var h hosts
	if tcp, ok := listener.(*net.TCPAddr); ok {
		h.loopback = tcp.IP.IsLoopback()
	}
	for _, name := range allowed {
		h.allowed = append(h.allowed, hostOf(name))
	}
	if h.loopback {
		h.allowed = append(h.allowed, hostOf(listenAddress))
	}
	return h
}

// answer reports whether a request with that Host header is for this server. Without
// the header a request is of no browser.
func (h hosts) answer(header string) bool {
	if header == "" || (!h.loopback && len(h.allowed) == 0) {
		return true
	}
	host := hostOf(header)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(h.allowed, host) { // RFC 6761, 6.3
		return true
	}
	// No name, no resolving. A server on all addresses does not know those of its
	// clients' routes.
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || !h.loopback)
}

// hostOf is the host of "host", "host:port" or "[host]:port", as names compare.
func hostOf(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// check refuses requests for others.
func (h hosts) check(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.answer(r.Host) {
			http.Error(w, fmt.Sprintf("promscope does not answer to %q: use a loopback name or address, or name this host with --web.allowed-host.", hostOf(r.Host)), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
