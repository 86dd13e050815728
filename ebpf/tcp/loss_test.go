package tcp

import (
	"testing"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestLoss sends more than lo is made to take: what is sent again of each connection, what each
// process is said to have sent again, and what the kernel counts of their network namespace is
// one figure.
func TestLoss(t *testing.T) {
	c := start(t, "")
	server := startChild(t, nil)
	client := startChild(t, server)
	server.begin("slow")
	if _, err := server.tryDone(); err != nil {
		t.Skip("the kernel has no such queue, or there is no tc: ", err)
	}
	const connections, bytes = 4, 1 << 18
	port := server.do("listen", 128)
	client.do("connect", port, connections, 0, "hold")
	server.do("accept", connections, "hold")
	server.begin("drain", bytes)
	client.do("write", bytes)
	server.done()
	total := expectRetransmits(t, c, client, server)
	if sockets := client.do("retransmits") + server.do("retransmits"); sockets != total || total < 10 {
		t.Errorf("%d segments were sent again, %d by the sockets", total, sockets)
	}
	all := loadtest.Gather(t, c)
	if got := loadtest.Find(all[prefix+"retransmits_total"], "pid", client.pid()).GetCounter().GetValue(); int(got) != client.do("retransmits") {
		t.Errorf("the client has sent %v segments again", got)
	}
	for child, key := range map[*child]string{client: "sent_bytes", server: "received_bytes"} {
		if got := figuresOf(all, child.pid())[key]; got != connections*bytes {
			t.Errorf("%s: %v", key, got)
		}
	}
	t.Logf("%d segments were sent again", total)
}
