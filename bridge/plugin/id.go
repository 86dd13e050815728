package plugin

import (
	"fmt"
	"regexp"
)

// idPattern is the probe's own (validPluginName in Scope's probe/plugins). The probe
// never polls a plugin whose id does not match, and only its log says so.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)

// CheckID returns an error if id cannot be a plugin's id.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("plugin id %q: Scope takes letters and digits, in groups separated by single dashes", id)
	}
	return nil
}
