package load

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ReadMap calls each with the entries of a hash map, which it reads in batches. The value is
// each's to keep. An entry that is added or deleted meanwhile may be left out.
func ReadMap[K, V any](m *ebpf.Map, each func(K, *V)) error {
	// The kernel, too, allocates room for a batch: 64 of the largest values are 43 kB.
	const batch = 64
	var (
		cursor ebpf.MapBatchCursor
		keys   [batch]K
	)
	for {
		values := make([]V, batch)
		n, err := m.BatchLookup(&cursor, keys[:], values, nil)
		for i := range n {
			each(keys[i], &values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("reading map %v: %w", m, err)
		}
	}
}

// Drop deletes the entries with these keys, as far as they are there.
func Drop[K any](m *ebpf.Map, keys []K) error {
	var errs []error
	for _, key := range keys {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("dropping %+v: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// Comm returns the name of a process, as a program has copied it from its task_struct.
func Comm(raw [16]byte) string {
	return strings.ToValidUTF8(unix.ByteSliceToString(raw[:]), "\ufffd")
}

// Monotonic returns the clock of bpf_ktime_get_ns, and of the start_time of a task_struct.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // cannot happen: the clock always exists
	}
	return time.Duration(t.Nano())
}
