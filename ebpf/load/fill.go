package load

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/collector"
)

// The kernel tells no one how many entries a hash map has: they have to be read. 10,000 entries of
// 64 bytes take 2 ms. So the maps are counted each countEvery, and so rarely that it takes no more
// than one part in countShare of a CPU.
const (
	countEvery = 10 * time.Second
	countShare = 1000
)

// fillable returns the names of the maps that the programs use and that can be full, in order. One
// with room for a single entry is one that this hook set has no use for: of code that the kernel
// leaves out. What a queue has no room for is lost, and its reader counts that.
func fillable(spec *ebpf.CollectionSpec) []string {
	used := map[string]bool{}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			used[p.Instructions[i].Reference()] = true
		}
	}
	var names []string
	for name, m := range spec.Maps {
		if used[name] && m.MaxEntries > 1 && (m.Type == ebpf.Hash || m.Type == ebpf.LRUHash) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fills knows how full the maps of programs are.
type fills struct {
	maps []collector.Map // as they were counted last
	due  time.Time       // when they are counted again
}

// of returns how full the maps are, and counts their entries if that is due.
func (f *fills) of(p *Programs, now time.Time) ([]collector.Map, error) {
	if now.Before(f.due) {
		return f.maps, nil
	}
	began := time.Now()
	counted := make([]collector.Map, 0, len(p.fillable))
	for _, name := range p.fillable {
		m := p.Collection.Maps[name]
		n, err := countEntries(m)
		if err != nil {
			return nil, err
		}
		counted = append(counted, collector.Map{Name: name, Entries: n, Limit: int(m.MaxEntries()), Evicts: m.Type() == ebpf.LRUHash})
	}
	f.maps, f.due = counted, now.Add(max(countEvery, countShare*time.Since(began)))
	return f.maps, nil
}

// countEntries returns how many entries a hash map has. One that is added or deleted meanwhile may
// be counted or not.
func countEntries(m *ebpf.Map) (int, error) {
	const batch = 64 // as ReadMap
	var (
		cursor       ebpf.MapBatchCursor
		keys, values = entries(batch, m.KeySize()), entries(batch, m.ValueSize())
		sum          int
	)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		sum += n
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return sum, nil
		case err != nil:
			return 0, fmt.Errorf("counting the entries of map %v: %w", m, err)
		}
	}
}

// entries returns a slice of n arrays of so many bytes.
func entries(n int, size uint32) any {
	of := reflect.ArrayOf(int(size), reflect.TypeFor[byte]())
	return reflect.MakeSlice(reflect.SliceOf(of), n, n).Interface()
}
