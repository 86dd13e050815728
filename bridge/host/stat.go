package host

import (
	"bytes"
	"errors"
	"strconv"
)

// errStat is returned for a /proc/PID/stat that is none.
var errStat = errors.New("malformed stat file")

// Stat returns what /proc/PID/stat says of a living process: its parent, name
// and start ticks. A zombie does not live, unless it is a leader whose other
// threads go on.
func (m *Machine) Stat(pid int) (Process, error) {
	var buf scratch
	content, err := m.readFile(pid, "stat", &buf)
	if err != nil {
		return Process{}, processError(pid, err)
	}
	p, state, threads, err := parseStat(content)
	if err != nil {
		return Process{}, processError(pid, err)
	}
	if (state == 'Z' || state == 'X') && threads <= 1 {
		return Process{}, processError(pid, errNoProcess)
	}
	p.PID = pid
	return p, nil
}

// parseStat parses the content of /proc/PID/stat (proc_pid_stat(5)).
func parseStat(b []byte) (p Process, state byte, threads int, err error) {
	// The name may hold anything, parentheses and newlines too.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Process{}, 0, 0, errStat
	}
	p.Comm = string(b[open+1 : end])

	rest, spaced := bytes.CutPrefix(bytes.TrimSuffix(b[end+1:], []byte("\n")), []byte(" "))
	if !spaced {
		return Process{}, 0, 0, errStat
	}
	// Fields are counted as the manual page does.
	for number := 3; len(rest) > 0; number++ {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte(" "))
		switch number {
		case 3:
			if len(field) != 1 {
				return Process{}, 0, 0, errStat
			}
			state = field[0]
		case 4:
			p.PPID, err = strconv.Atoi(string(field))
		case 20:
			threads, err = strconv.Atoi(string(field))
		case 22:
			p.StartTicks, err = strconv.ParseUint(string(field), 10, 64)
			return p, state, threads, err
		}
		if err != nil {
			return Process{}, 0, 0, errStat
		}
	}
	return Process{}, 0, 0, errStat
}
