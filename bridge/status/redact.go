package status

import (
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/view"
)

var (
	// userInfo finds what stands before the host of a URL, parameter the parameters.
	userInfo  = regexp.MustCompile(`(://)[^/?#\s"'<>]+@`)
	parameter = regexp.MustCompile(`[?&][A-Za-z0-9_.%-]+=[^&\s"'<>#]*`)
)

// secretMark stands where a secret was.
const secretMark = "<secret>"

// RedactLabels copies labels without what must not be shown: values of secret
// URL parameters, and user info of addresses and URLs.
func RedactLabels(l labels.Labels) view.Labels {
	m := make(view.Labels, l.Len())
	l.Range(func(l labels.Label) {
		m[l.Name] = RedactLabel(l.Name, l.Value)
	})
	return m
}

// RedactLabel returns a label's value without what must not be shown.
func RedactLabel(name, value string) string {
	switch {
	case strings.HasPrefix(name, model.ParamLabelPrefix) && secretName(name[len(model.ParamLabelPrefix):]):
		return secretMark
	case name == model.AddressLabel || name == model.InstanceLabel:
		// host:port, where user info has no "//" before it
		if at := strings.LastIndexByte(value, '@'); at >= 0 && strings.Contains(value[:at], ":") {
			return value[at+1:]
		}
	}
	return RedactText(value)
}

// secretName tells whether what goes by that name is likely to be secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"token", "secret", "passw", "auth", "credential", "signature", "apikey", "api_key", "api-key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return name == "key" || name == "sig"
}

// RedactText takes the user info out of all URLs in a text, and the values of
// parameters that are secret by their names.
func RedactText(text string) string {
	if strings.Contains(text, "://") {
		text = userInfo.ReplaceAllString(text, "${1}"+secretMark+"@")
	}
	if strings.ContainsAny(text, "?&") {
		text = parameter.ReplaceAllStringFunc(text, func(match string) string {
			name, _, _ := strings.Cut(match[1:], "=")
			if !secretName(name) {
				return match
			}
			return match[:len(name)+2] + secretMark
		})
	}
	return text
}
