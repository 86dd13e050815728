// Package port reads sets of TCP ports out of YAML.
package port

import (
	"fmt"
	"strconv"
	"strings"
)

// Range is a range of TCP ports, both ends included. In YAML it is a port
// (9100) or a range ("9090-9999").
type Range struct{ First, Last uint16 }

// parseRange reads a port or a range of ports.
func parseRange(s string) (Range, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, errFrom := parsePort(first)
	to, errTo := parsePort(last)
	switch {
	case errFrom != nil || errTo != nil:
		return Range{}, fmt.Errorf("%q is neither a port (1 to 65535) nor a range of ports like 9090-9999", s)
	case from > to:
		return Range{}, fmt.Errorf("the range %q ends before it begins", s)
	}
	return Range{from, to}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint16(n), err
}

// UnmarshalText implements encoding.TextUnmarshaler, for YAML.
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r, err = parseRange(string(text))
	return err
}

// MarshalText implements encoding.TextMarshaler, for YAML.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String returns the range as parseRange reads it.
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Set is a set of ports, as a list of ranges.
type Set []Range

// Contains reports whether a port is in one of the ranges.
func (p Set) Contains(port uint16) bool {
	for _, r := range p {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

// List returns the ports one by one, in the order of the ranges.
func (p Set) List() []uint16 {
	var list []uint16
	for _, r := range p {
		for port := int(r.First); port <= int(r.Last); port++ {
			list = append(list, uint16(port))
		}
	}
	return list
}
