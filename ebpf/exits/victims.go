package exits

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
)

// victim is a process that a signal has ended, as the program writes it.
type victim struct {
	TGID   uint32
	Signal uint32
	OOM    uint32
	Length uint32 // of the path
	Comm   [16]byte
	Path   [768]byte // names of directories, the last first, each with a zero
}

// OutOfMemory tells whether the kernel killed it because there was no memory.
func (v *victim) OutOfMemory() bool { return v.OOM != 0 }

func (v *victim) comm() string { return load.Comm(v.Comm) }

// cgroup returns the path of its cgroup below the root of the hierarchy.
func (v *victim) cgroup() string {
	names := strings.Split(strings.TrimSuffix(string(v.Path[:v.Length]), "\x00"), "\x00")
	slices.Reverse(names)
	return strings.ToValidUTF8("/"+strings.Join(names, "/"), "\ufffd")
}

func (v *victim) String() string {
	return fmt.Sprintf("%s[%d] by %s in %s", v.comm(), v.TGID, signalName(v.Signal), v.cgroup())
}

// takeVictims takes all out of the queue.
func takeVictims(queue *ebpf.Map) ([]victim, error) {
	var all []victim
	for {
		var v victim
		switch err := queue.LookupAndDelete(nil, &v); {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return all, nil
		case err != nil:
			return all, fmt.Errorf("reading %v: %w", queue, err)
		}
		all = append(all, v)
	}
}

// realTime is the first of the signals without a name of their own.
const realTime = 32

// signalName returns the name that a label has for a signal: one for all real-time signals.
func signalName(number uint32) string {
	if number >= realTime {
		return "SIGRT"
	}
	return unix.SignalName(syscall.Signal(number))
}

// bySignal names what is counted for each signal. A signal that a process survives by default
// has no name while it has ended none (signal(7)).
func bySignal(counts []uint64) map[string]uint64 {
	named := make(map[string]uint64, realTime)
	for number, n := range counts[1:] {
		switch s := uint32(number + 1); syscall.Signal(s) {
		case unix.SIGCHLD, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGWINCH:
			if n == 0 {
				continue
			}
			fallthrough
		default:
			named[signalName(s)] += n
		}
	}
	return named
}
