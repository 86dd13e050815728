package tcp

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// Credentials for which there is no room are counted, until there is.
func TestCredentialsLeftOut(t *testing.T) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 32, MaxEntries: 2})
	loadtest.Require(t, loadtest.Required(""), err)
	defer m.Close()
	c := credentials{m: m, of: map[uint64]owner{}}
	all := map[uint64]*living{0x10: {Owner: 1}, 0x20: {Owner: 2}, 0x30: {Owner: 3}}
	for range 2 {
		if err := c.update(all); err != nil || c.leftOut != 1 || len(c.of) != 2 {
			t.Fatalf("%d are left out, %d known: %v", c.leftOut, len(c.of), err)
		}
	}
	for cred := range c.of {
		delete(all, cred)
		break
	}
	if err := c.update(all); err != nil || c.leftOut != 0 || len(c.of) != 2 {
		t.Fatalf("%d are left out, %d known: %v", c.leftOut, len(c.of), err)
	}
}
