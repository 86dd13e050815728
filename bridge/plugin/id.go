package plugin

import (
	"fmt"
	"regexp"
)

// idPattern is the probe's own (validPluginName in Scope's probe/plugins). A
// plugin whose id does not match is never polled, and nothing says so but the
// probe's log.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)

// CheckID reports why id cannot be a plugin's id, if so.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("plugin id %q: Scope takes letters and digits, in groups separated by single dashes", id)
	}
	return nil
}
