// Package iowait says how much of the CPUs' time is spent waiting for I/O, and
// where the rest of it goes: the modes of /proc/stat as counters.
//
// They are counters and not percentages so that a rule decides over which time
// they are looked at. A percentage taken from one reading of /proc/stat would be
// the average since the machine booted.
package iowait
