// Package exits counts the processes that a signal ends, those of them that the kernel killed
// because there was no memory, and the cgroups where they were.
//
// A program in the kernel counts. It also notes each such process in a queue, which is read
// once an interval: to name the last ones, and their cgroups. bpf/exits.bpf.c has how it tells
// them.
package exits
