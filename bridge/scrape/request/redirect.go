package request

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxRedirects is how many redirects of one request are followed, as by net/http.
const maxRedirects = 10

// checkRedirect says whether a redirect is followed. It leads to the scheme, host and
// port of the target, unless the job says that it may lead elsewhere: whoever answers
// could have promscope ask, in its network namespace and with its rights, whatever it
// likes. A job that allows it has no credentials (job.Config.Validate).
func (c *Client) checkRedirect(next *http.Request, before []*http.Request) error {
	u := next.URL
	refuse := func(why string) error {
		return &Error{"redirect", fmt.Errorf("a redirect is not followed: %s: %q", why, u.Redacted())}
	}
	if len(before) >= maxRedirects {
		return &Error{"redirect", fmt.Errorf("a redirect is not followed: it is number %d", maxRedirects+1)}
	}
	if slices.ContainsFunc(before, func(r *http.Request) bool { return r.URL.String() == u.String() }) {
		return refuse("it leads back")
	}
	if u.Scheme == c.target.URL.Scheme && strings.EqualFold(hostPort(u), hostPort(c.target.URL)) {
		return nil
	}
	switch {
	case !c.target.Job.FollowRedirectsElsewhere:
		return refuse("it leads away from the target (follow_redirects_elsewhere: true allows that)")
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("it leads to no web server")
	case isPrivileged(u):
		return refuse("it leads to a link-local or metadata address")
	}
	// The address before may have a token in its query.
	next.Header.Del("Referer")
	return nil
}

// metadataAddresses are those of clouds' metadata services that are not link-local:
// AWS by IPv6, Alibaba, Oracle. What they answer are credentials of the machine.
func metadataAddresses() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),
		netip.MustParseAddr("100.100.100.200"),
		netip.MustParseAddr("192.0.0.192"),
	}
}

// isPrivileged reports whether a URL names an address that no redirect may lead to. A
// name is looked at when it is connected to, unless a proxy does that.
func isPrivileged(u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "metadata" || host == "metadata.google.internal" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && privilegedAddr(addr)
}

func privilegedAddr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() || slices.Contains(metadataAddresses(), addr)
}

// checkPeer refuses a connection to where no redirect may lead: only after a name was
// resolved can its address be told. Nothing was sent yet.
func (c *Client) checkPeer(conn net.Conn) error {
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err == nil && privilegedAddr(peer.Addr()) {
		return &Error{"redirect", errors.New("a redirect is not followed: it leads to a link-local or metadata address")}
	}
	return nil
}
