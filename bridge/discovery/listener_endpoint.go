package discovery

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// LabelNetNS has the network namespace in which a target is dialed, if it is not ours: the
// inode of /proc/PID/ns/net in decimal, as socket.Table.DialContext takes it. It is for the
// scraper: like __address__ it is not kept.
const LabelNetNS = "__netns__"

// The labels of a target that was found at a local listener, as docs/discovery.md has them.
const (
	labelListenerPID       = "__meta_listener_pid"
	labelListenerComm      = "__meta_listener_comm"
	labelListenerExe       = "__meta_listener_exe"
	labelListenerPort      = "__meta_listener_port"
	labelListenerContainer = "__meta_listener_container_id"
	labelListenerPod       = "__meta_listener_pod_uid"
)

// endpoint is a listener, and where on it an exposition may be.
type endpoint struct {
	socket.Listener
	asker  *asker // how it is asked
	path   string // of the URL
	spared string // why it is not asked
	only6  bool   // it listens on all IPv6 addresses, and takes no IPv4

	// While it is asked:
	contact *contact
	timeout time.Duration
}

// wantsTCP returns which TCP listeners an entry of the configuration wants.
func (p *Prober) wantsTCP(c *ListenerSDConfig) func(netns uint64, addr netip.AddrPort) bool {
	return func(netns uint64, addr netip.AddrPort) bool {
		// A link-local address says nothing without an interface.
		return c.asks(addr.Port()) && !addr.Addr().IsLinkLocalUnicast() && p.reaches(netns)
	}
}

// wantsUnix returns which unix listeners are wanted: those whose name says that they
// serve metrics. Others may not bear a request.
func (p *Prober) wantsUnix() func(netns uint64, file string) bool {
	return func(_ uint64, file string) bool {
		for _, pattern := range []string{"*metrics*.sock", "*exporter*.sock", "*prometheus*.sock"} {
			if ok, _ := path.Match(pattern, path.Base(file)); ok {
				return true
			}
		}
		return false
	}
}

// reaches reports whether a listener in a network namespace can be asked.
func (p *Prober) reaches(netns uint64) bool {
	return p.reach == nil || netns == p.machine.NetNS()
}

// address returns where to dial. A listener on all addresses is dialed on the loopback
// of its namespace. One on all IPv6 addresses takes IPv4 too, unless it was told
// otherwise; only a try shows that.
func (e endpoint) address() string {
	addr := e.Addr.Addr()
	switch {
	case e.only6:
		addr = netip.IPv6Loopback()
	case addr.IsUnspecified():
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(addr, e.Addr.Port()).String()
}

// labels returns the endpoint as a target.
func (e endpoint) labels(m *host.Machine) model.LabelSet {
	set := model.LabelSet{
		model.MetricsPathLabel: model.LabelValue(e.path),
		job.LabelListenerNetNS: number(e.NetNS),
	}
	if e.Path != "" {
		set[model.AddressLabel] = "localhost"
		set[job.LabelUnixSocket] = model.LabelValue(e.socketPath(m))
		set[model.InstanceLabel] = model.LabelValue(e.Path)
	} else {
		set[model.AddressLabel] = model.LabelValue(e.address())
		set[labelListenerPort] = number(uint64(e.Addr.Port()))
	}
	if e.NetNS != m.NetNS() {
		// Every namespace has its 127.0.0.1.
		set[LabelNetNS] = number(e.NetNS)
		set[model.InstanceLabel] = model.LabelValue(e.instance())
	}
	if e.Owner.PID != 0 {
		set[labelListenerPID] = number(uint64(e.Owner.PID))
		set[labelListenerComm] = model.LabelValue(e.Owner.Comm)
		set[labelListenerExe] = model.LabelValue(e.Owner.Exe)
	}
	if e.Owner.Container != "" {
		set[labelListenerContainer] = model.LabelValue(e.Owner.Container)
	}
	if e.Owner.Pod != "" {
		set[labelListenerPod] = model.LabelValue(e.Owner.Pod)
	}
	return set
}

// instance returns the instance label of an endpoint in another network namespace: the
// container's id, in the short form that docker ps prints, or else the namespace's.
func (e endpoint) instance() string {
	where := "netns-" + strconv.FormatUint(e.NetNS, 10)
	if e.Owner.Container != "" {
		where = e.Owner.Container[:12]
	}
	if e.Path != "" {
		return where + ":" + e.Path
	}
	return net.JoinHostPort(where, strconv.Itoa(int(e.Addr.Port())))
}

// socketPath returns the path of a unix socket as seen from here. Its owner may have
// another root.
func (e endpoint) socketPath(m *host.Machine) string {
	if e.Owner.Container == "" {
		return e.Path
	}
	return m.Path(e.Owner.PID, "root") + e.Path
}

func number(n uint64) model.LabelValue { return model.LabelValue(strconv.FormatUint(n, 10)) }

// service is what a process has on a port, whatever the addresses are, or on a unix
// socket.
type service struct {
	netns uint64
	pid   int
	inode uint64 // where the process is not known
	port  uint16
	path  string // of the unix socket
}

func (e endpoint) service() service {
	s := service{netns: e.NetNS, pid: e.Owner.PID, port: e.Addr.Port(), path: e.Path}
	if s.pid == 0 {
		s.inode = e.Inode
	}
	return s
}

// distinct keeps one of the endpoints of each service. On several addresses it serves the
// same series, which would count twice.
func distinct(endpoints []endpoint) []endpoint {
	place := map[service]int{}
	var kept []endpoint
	for _, e := range endpoints {
		s := e.service()
		i, ok := place[s]
		switch {
		case !ok:
			place[s] = len(kept)
			kept = append(kept, e)
		case e.rank() < kept[i].rank():
			kept[i] = e
		}
	}
	return kept
}

// rank orders the addresses of a service by how sure they are to answer; the lowest is
// the surest.
func (e endpoint) rank() int {
	addr := e.Addr.Addr()
	rank := 0
	switch {
	case addr.IsLoopback():
	case addr.IsUnspecified():
		rank = 2
	default:
		rank = 4
	}
	if addr.Is6() {
		rank++
	}
	return rank
}
