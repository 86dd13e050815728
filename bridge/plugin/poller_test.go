package plugin

import (
	"fmt"
	"strings"
	"testing"
)

func TestPollersAreBounded(t *testing.T) {
	var p pollers
	for i := range 3 * maxPollers {
		p.record(Poller{ProbeID: fmt.Sprint(i), Last: second(i)})
		p.record(Poller{ProbeID: "0", Last: second(i)}) // the first one keeps polling
	}
	list := p.snapshot()
	if len(list) != maxPollers || list[0].ProbeID != "0" || list[0].Polls != 3*maxPollers+1 {
		t.Errorf("%d pollers, the first %+v", len(list), list[0])
	}
	p.record(Poller{ProbeID: strings.Repeat("x", 10_000), UserAgent: strings.Repeat("y", 10_000), Last: second(1000)})
	last := p.snapshot()[maxPollers-1]
	if len(last.ProbeID) != maxPollerText || len(last.UserAgent) != maxPollerText {
		t.Errorf("remembers %d and %d bytes", len(last.ProbeID), len(last.UserAgent))
	}
}
