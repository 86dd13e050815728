package connlimit

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeConn notes that it was closed.
type fakeConn struct {
	net.Conn

	name   string
	closed *[]string
}

func (c *fakeConn) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

func TestLimit(t *testing.T) {
	tests := []struct {
		name   string
		events string // + new, a active, i idle, - closed, each with a name
		want   string // closed by the limit, in order
	}{
		{"room for all", "+a +b +c", ""},
		{"the oldest that had no answer", "+a +b +c +d +e", "a b"},
		{"one that asks stays", "+a aa ia +b +c +d +e +f", "b c d"},
		{"one that asks again stays longest", "+a ia +b ib +c ic aa ia +d +e", "b d"},
		{"one that has asked again stays beside those that ask once", "+a ia aa ia +b ib +c ic +d id +e ie", "b c"},
		{"one that takes no answer goes", "+a aa +b ib +c ic +d", "a"},
		{"one that has left makes room", "+a +b +c -a +d", ""},
		{"one that was closed may be told of again", "+a +b +c +d -a ia aa +e", "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var closed []string
			conns := map[string]*fakeConn{}
			limit := Limit{Max: 3}
			for event := range strings.FieldsSeq(tt.events) {
				name := event[1:]
				if conns[name] == nil {
					conns[name] = &fakeConn{name: name, closed: &closed}
				}
				limit.ConnState(conns[name], map[byte]http.ConnState{
					'+': http.StateNew, 'a': http.StateActive, 'i': http.StateIdle, '-': http.StateClosed,
				}[event[0]])
			}
			if diff := cmp.Diff(tt.want, strings.Join(closed, " ")); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
			if len(limit.known) != limit.order.Len() || len(limit.known) > 3 {
				t.Errorf("%d known, %d in order", len(limit.known), limit.order.Len())
			}
		})
	}
}

// A client that polls keeps its connection beside ten times as many that say nothing.
func TestLimitOfServer(t *testing.T) {
	limit := Limit{Max: 8}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnState: limit.ConnState, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var addresses []string
	for range 80 {
		resp, err := client.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var address [100]byte
		n, _ := resp.Body.Read(address[:])
		resp.Body.Close()
		addresses = append(addresses, string(address[:n]))
		silent, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	if different := slices.Compact(addresses); len(different) != 1 {
		t.Errorf("the client came over %d connections", len(different))
	}
}
