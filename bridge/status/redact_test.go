package status

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                           "plain",
		"http://user:pw@host/x":           "http://<secret>@host/x",
		"http://token@host":               "http://<secret>@host",
		"http://host/x?token=abc&y=1":     "http://host/x?token=<secret>&y=1",
		"http://host/x?y=1&api_key=abc z": "http://host/x?y=1&api_key=<secret> z",
		"a@b http://host/":                "a@b http://host/",
		`Get "http://u:p@h": refused`:     `Get "http://<secret>@h": refused`,
		"http://u:p@a http://v:q@b":       "http://<secret>@a http://<secret>@b",
		"x?y":                             "x?y",
		"sum(a) by (b) > 1 ? token=":      "sum(a) by (b) > 1 ? token=",
	} {
		if got := RedactText(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	got := RedactLabels(labels.FromStrings("__address__", "u:p@h:1", "__param_token", "t", "__param_module", "m", "__meta_url", "http://u:p@h/", "key", "v"))
	for name, want := range map[string]string{
		"__address__": "h:1", "__param_token": "<secret>", "__param_module": "m", "__meta_url": "http://<secret>@h/", "key": "v",
	} {
		if got[name] != want {
			t.Errorf("%s: got %s, want %s", name, got[name], want)
		}
	}
}
