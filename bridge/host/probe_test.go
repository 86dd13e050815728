package host

import (
	"strings"
	"testing"
)

func TestKubernetesFlags(t *testing.T) {
	for line, want := range map[string]bool{
		"scope-probe --probe.docker=true":                               false,
		"scope-probe --probe.kubernetes=true":                           true,
		"scope-probe -probe.kubernetes":                                 true,
		"scope-probe --probe.kubernetes=1 --probe.docker=true":          true,
		"scope-probe --probe.kubernetes=false":                          false,
		"scope-probe --probe.kubernetes=true --probe.kubernetes=false":  false,
		"scope-probe --probe.kubernetes=false --probe.kubernetes":       true,
		"scope-probe --probe.kubernetes.role=host":                      true,
		"scope-probe --probe.kubernetes.role=host --probe.kubernetes=0": true,
		"scope-probe --probe.kubernetes.role cluster":                   true,
		"scope-probe --probe.kubernetes.role=":                          false,
		"scope-probe --probe.kubernetes.api=http://127.0.0.1:8080":      false,
		"scope --mode=probe probe.kubernetes=true":                      false,
		"scope --mode=probe --probe.kubernetes.interval=10s weave:4040": false,
	} {
		if got := kubernetesFlags(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}
