// Package secret keeps secrets out of what people read: pages, answers, logs, errors.
//
// It knows a secret by the name before it, by its place in a URL, or by its value.
// Secrets become [Mark]. In the user info of a URL they become xxxxx, as in
// url.URL's Redacted, so that the URL stays one.
package secret

import (
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Mark stands where a secret was, as in Prometheus's own output.
const Mark = "<secret>"

var (
	// secretPattern matches the names of secrets.
	secretPattern = regexp.MustCompile(`(?i)passw|passphrase|pwd|secret|token|credential|cookie|auth|signature|api.?key|[_-]key$|^key$|^sig$`)
	// aboutPattern matches names whose values are about a secret, but not secret.
	aboutPattern = regexp.MustCompile(`(?i)_(file|ref|url|algorithm)$`)
	// parameterPattern finds the parameters of URLs.
	parameterPattern = regexp.MustCompile(`[?&][A-Za-z0-9_.%+-]+=(?:` + Mark + `|[^&\s"'<>#]*)`)
)

// Name reports whether the value of that name is likely to be secret: of a key in a
// configuration, or of a parameter in a URL.
func Name(name string) bool {
	return secretPattern.MatchString(name) && !About(name)
}

// About reports whether the value of that name only tells of a secret, as where it is:
// password_file.
func About(name string) bool { return aboutPattern.MatchString(name) }

// Text hides the secrets of all URLs in a text: user info, and the values of
// parameters with a secret's name. A second time it changes nothing.
func Text(text string) string {
	if strings.Contains(text, "://") {
		text = string(UserInfo([]byte(text)))
	}
	if !strings.ContainsAny(text, "?&") {
		return text
	}
	return parameterPattern.ReplaceAllStringFunc(text, func(parameter string) string {
		if name, _, _ := strings.Cut(parameter[1:], "="); Name(name) {
			return parameter[:len(name)+2] + Mark
		}
		return parameter
	})
}

// Label returns what may be shown of a label's value.
func Label(name, value string) string {
	if parameter, ok := strings.CutPrefix(name, model.ParamLabelPrefix); ok && Name(parameter) {
		return Mark
	}
	if name == model.AddressLabel || name == model.InstanceLabel {
		// In host:port no "//" comes before user info.
		if at := strings.LastIndexByte(value, '@'); at >= 0 && strings.Contains(value[:at], ":") {
			return value[at+1:]
		}
	}
	return Text(value)
}

// Labels returns what may be shown of labels, by name.
func Labels(l labels.Labels) map[string]string {
	shown := make(map[string]string, l.Len())
	l.Range(func(l labels.Label) { shown[l.Name] = Label(l.Name, l.Value) })
	return shown
}
