package probetest

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	pidKey       = regexp.MustCompile(`^(.+);([1-9][0-9]*)$`)
	containerKey = regexp.MustCompile(`^[0-9a-f]{64};<container>$`)
	// The UID of a static pod is a hash without dashes.
	podKey = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32});<pod>$`)
)

// hostNames checks nodes' keys, and that all speak of one host.
type hostNames struct{ name string }

func newHostNames(name string) *hostNames { return &hostNames{name} }

func (h *hostNames) checkKey(v *violations, path, topology, key string) {
	switch topology {
	case "Host":
		host, found := strings.CutSuffix(key, ";<host>")
		if !found || host == "" {
			v.add(path, `is no key of a host, which is "<name>;<host>" with <host> literally`)
			return
		}
		h.checkHost(v, path, host)
	case "Process":
		parts := pidKey.FindStringSubmatch(key)
		if parts == nil {
			v.add(path, `is no key of a process, which is "<host name>;<pid>"`)
			return
		}
		h.checkHost(v, path, parts[1])
	case "Container":
		if !containerKey.MatchString(key) {
			v.add(path, `is no key of a container, which is "<64 hex digits>;<container>" with <container> literally`)
		}
	case "Pod":
		if !podKey.MatchString(key) {
			v.add(path, `is no key of a pod, which is "<UID>;<pod>" with <pod> literally`)
		}
	}
}

func (h *hostNames) checkHost(v *violations, path, host string) {
	if h.name == "" {
		h.name = host
	}
	if host != h.name {
		v.add(path, "speaks of host %q instead of %q: a ghost", host, h.name)
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
