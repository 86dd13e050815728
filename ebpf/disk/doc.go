// Package disk says how long the requests of each disk take, how many are in flight, and how
// many bytes each process reads from and writes to storage.
//
// What the kernel counts anyway is read: what threads have read and written (as /proc/PID/io
// has it, which takes three system calls a process), and the requests in flight
// (/proc/diskstats). A program adds how the time of the requests is distributed.
package disk
