package socket

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/promscope/promscope/bridge/host"
)

// forwarding is what a program does with the connections that it accepts.
type forwarding int

const (
	noForwarder forwarding = iota // it answers them, as far as we know
	oneForEach                    // it opens a connection for each, to who answers
	carried                       // it carries them within another connection, to who knows whom
)

// forwards tells by the name of a program whether it answers itself. The listener of a
// tunnel is not who answers.
func forwards(p host.Process) forwarding {
	for _, name := range []string{p.Comm, filepath.Base(p.Exe)} {
		switch name {
		case "docker-proxy", "rootlessport", "systemd-socket-proxyd", "socat", "socat1", "ncat", "nc", "nc.openbsd", "nc.traditional", "netcat",
			"rinetd", "redir", "simpleproxy", "6tunnel", "hitch", "stunnel", "stunnel3", "stunnel4", "stunnel5", "ghostunnel", "kube-rbac-proxy":
			return oneForEach
		case "ssh", "sshd", "sshd-session", "autossh", "sshuttle", "dropbear", "dbclient", "plink", "kubectl", "kubefwd", "oc", "telepresence",
			"chisel", "cloudflared", "frpc", "frps", "ngrok", "bore", "rathole", "gost", "spiped", "tailscaled", "tsh", "teleport", "boundary",
			"session-manager", "session-manager-plugin", "cloud_sql_proxy", "cloud-sql-proxy", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2",
			"passt", "passt.avx2", "gvproxy", "wstunnel", "sslh", "k9s", "skaffold", "devspace", "okteto", "minikube", "limactl",
			"qemu-kvm", "kvm", "VBoxHeadless", "VirtualBoxVM", "vmnet-natd", "vpnkit", "alloydb-auth-proxy", "flyctl", "adb", "iproxy",
			"inlets", "inlets-pro", "zrok", "ziti", "ziti-edge-tunnel", "v2ray", "xray", "sing-box", "ss-local", "ss-tunnel":
			return carried
		}
		if strings.HasPrefix(name, "qemu-system-") { // its user network, with hostfwd
			return carried
		}
	}
	return noForwarder
}

// proxyName returns the name of a proxy that has the clients of a server, or its exporter,
// talk to another one; "" for other programs. It answers for itself, too, so that it is no
// forwarder.
func proxyName(p host.Process) string {
	for _, name := range []string{p.Comm, filepath.Base(p.Exe)} {
		switch name {
		case "haproxy", "nginx", "envoy", "traefik", "caddy", "pgbouncer", "pgcat", "odyssey", "pgpool", "proxysql", "maxscale",
			"mysqlrouter":
			return name
		case "nutcracker":
			return "twemproxy"
		}
	}
	return ""
}

// KnownBy returns how the names of the metrics begin that a proxy exposes of itself, and by
// which its own exposition is known from that of a server behind it. There are none for a
// proxy that exposes nothing. It returns false for a program that is no proxy.
//
// Names that exporters of the proxy have too are not among them: nginx may be in front of
// nginx-prometheus-exporter, and HAProxy in front of haproxy_exporter.
func KnownBy(p host.Process) (prefixes []string, ok bool) {
	switch name := proxyName(p); name {
	case "":
		return nil, false
	case "haproxy": // a scope of its exporter may leave out the process
		return []string{"haproxy_process_", "haproxy_frontend_status", "haproxy_listener_status", "haproxy_backend_status",
			"haproxy_server_status", "haproxy_sticktable_"}, true
	case "nginx": // its modules, nginx-lua-prometheus, Kong and APISIX
		return []string{"nginx_vts_", "nginx_sts_", "nginx_metric_errors_total", "kong_", "apisix_"}, true
	case "envoy", "traefik", "caddy", "pgcat", "proxysql":
		return []string{name + "_"}, true
	case "odyssey":
		return []string{"msg_cache_gc_count", "count_coroutine", "database_len"}, true
	default:
		return nil, true
	}
}

// Published returns where the docker-proxy forwards to that listens at an address, seen from
// our namespace: to the container's own listener. It goes by the listeners that were listed
// last.
func (t *Table) Published(ctx context.Context, addr netip.AddrPort) (target netip.AddrPort, ok bool) {
	ns, ok := t.addresses.lookup(t.machine.NetNS(), addr.Addr())
	if !ok {
		return netip.AddrPort{}, false
	}
	inodes := inodesOf(reachable(t.listeners.knownTCP(ns), addr))
	for _, p := range oldestFirst(inodes, t.listeners.resolve(ctx, inodes, nil)) {
		if target, ok := proxyTarget(t.machine, p); ok {
			return target, true
		}
	}
	return netip.AddrPort{}, false
}

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

// upstreamFlag returns where a kube-rbac-proxy forwards to: what it was told on its command
// line. It stands in front of an exporter in the same pod, and has connections to the API
// server, too.
func upstreamFlag(m *host.Machine, p host.Process) (netip.AddrPort, bool) {
	if p.Comm != "kube-rbac-proxy" {
		return netip.AddrPort{}, false
	}
	args, err := m.CmdLine(p.PID)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, arg := range args {
		value, ok := strings.CutPrefix(arg, "--upstream=")
		if !ok {
			continue
		}
		target, err := url.Parse(value)
		if err != nil {
			break
		}
		address, err := netip.ParseAddrPort(strings.Replace(target.Host, "localhost", "127.0.0.1", 1))
		return address, err == nil
	}
	return netip.AddrPort{}, false
}
