package explain

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/view"
)

// explainAddress tells of an address where discovery has found no listener whether a job
// names it, or that nobody asks its port; nil if the subject is no address, or if neither
// is so.
func explainAddress(subject string, targets []scrape.TargetStatus, whyUnasked func(port uint16) string) []view.ListenerExplanation {
	_, number, err := net.SplitHostPort(subject)
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil
	}
	var all []view.ListenerExplanation
	for _, t := range targets {
		if !isAt(t, subject) {
			continue
		}
		reason := fmt.Sprintf("job %q names it, and it is %s", t.Job, t.Health)
		if t.LastError != "" {
			reason += ": " + t.LastError
		}
		all = append(all, view.ListenerExplanation{Name: subject, Result: view.ListenerNamed, Reason: reason, Asked: t.LastScrape})
	}
	if len(all) > 0 {
		return all
	}
	why := whyUnasked(uint16(port))
	if why == "" {
		return nil
	}
	return []view.ListenerExplanation{{Name: subject, Result: "spared", Reason: "no job names it, and " + why}}
}

// isAt tells whether a target is the one at an address, as its job or its instance has it.
func isAt(t scrape.TargetStatus, address string) bool {
	if t.Labels.Get(model.InstanceLabel) == address {
		return true
	}
	u, err := url.Parse(t.URL)
	return err == nil && t.URL != "" && u.Host == address
}
