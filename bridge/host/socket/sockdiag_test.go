package socket

import (
	"net"
	"slices"
	"testing"
)

func FuzzDiagMessages(f *testing.F) {
	f.Add(diagRequest(2, tcpListening, 0))
	f.Add(append(diagExact(addr("127.0.0.1:80"), addr("127.0.0.1:81")), make([]byte, 100)...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseUnixMessage(b)
		_, _ = diagMessages(b, tcpMessages(func(tcpSocket) {})) // must not panic or loop
	})
}

// In a real namespace the two ways to list sockets agree.
func TestSockDiagAgreesWithProc(t *testing.T) {
	table := realTable(t)
	if _, err := diagTCP(table.machine, table.machine.NetNS(), table.machine.PID(), tcpListening); err != nil {
		t.Skipf("needs sock_diag: %v", err)
	}
	for _, a := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Logf("not listening on %s: %v", a, err)
			continue
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
	}
	sorted := func(sockets []tcpSocket, err error) []tcpSocket {
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(sockets, func(a, b tcpSocket) int { return int(a.inode) - int(b.inode) })
		return slices.DeleteFunc(sockets, func(s tcpSocket) bool { return s.inode == 0 })
	}
	eventually(t, "agreement", func() bool { // other tests listen and connect meanwhile
		diag := sorted(diagTCP(table.machine, table.machine.NetNS(), table.machine.PID(), tcpListening|tcpEstablished))
		proc := sorted(procTCP(table.machine, table.machine.PID(), tcpListening|tcpEstablished))
		return slices.Equal(diag, proc) && len(diag) >= 3*2
	})
}
