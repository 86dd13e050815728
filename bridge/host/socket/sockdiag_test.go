package socket

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel may send is read to its end, or refused. A message is within the
// datagram, and what is read of it is what it says.
func FuzzDiagMessages(f *testing.F) {
	f.Add(diagRequest(2, tcpListening, 0))
	f.Add(append(diagExact(addr("127.0.0.1:80"), addr("127.0.0.1:81")), make([]byte, 100)...))
	answer := binary.NativeEndian.AppendUint32(nil, unix.SizeofNlMsghdr+diagMessageSize)
	answer = binary.NativeEndian.AppendUint16(answer, unix.SOCK_DIAG_BY_FAMILY)
	answer = append(answer, make([]byte, unix.SizeofNlMsghdr-6)...)
	answer = append(answer, unix.AF_INET, 10, 0, 0, 0x1f, 0x90, 0, 0, 127, 0, 0, 1)
	answer = append(answer, make([]byte, unix.SizeofNlMsghdr+diagMessageSize-len(answer))...)
	f.Add(append(answer, answer...))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := 0
		_, err := diagMessages(b, func(payload []byte) error {
			read += unix.SizeofNlMsghdr + len(payload)
			s, err := parseDiagMessage(payload)
			if err != nil {
				return err
			}
			if s.local.Port() != uint16(payload[4])<<8|uint16(payload[5]) || !s.local.Addr().IsValid() || !s.remote.Addr().IsValid() {
				t.Errorf("%+v of % x", s, payload)
			}
			return nil
		})
		if err == nil && read > len(b) {
			t.Errorf("%d bytes of %d are messages", read, len(b))
		}
		if s, err := parseUnixMessage(b); err == nil && len(s.path) > len(b)-unixMessageSize {
			t.Errorf("the path is %q", s.path)
		}
	})
}

// A dump that the kernel cannot finish is an error, of which the last message tells
// (netlink_dump_done in net/netlink/af_netlink.c).
func TestDiagDone(t *testing.T) {
	done := func(payload ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(payload)))
		b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_DONE)
		b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_MULTI)
		return append(append(b, make([]byte, 8)...), payload...)
	}
	code := func(code int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(code)) }
	for _, tc := range []struct {
		name    string
		payload []byte
		want    error
	}{
		{"no code", nil, nil},
		{"all was told", code(0), nil},
		{"no memory", code(-int32(unix.ENOMEM)), unix.ENOMEM},
	} {
		if end, err := diagMessages(done(tc.payload...), nil); !end || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, %v, want %v", tc.name, end, err, tc.want)
		}
	}
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
