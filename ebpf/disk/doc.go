// Package disk says how long the requests of each disk take, how many are in flight, and how
// many bytes each process reads from and writes to storage.
//
// What the kernel counts anyway is read: what threads have read and written (/proc/PID/io takes
// three system calls a process, and has its children's in it), and the requests in flight
// (/proc/diskstats). A program adds how the time of the requests is distributed.
package disk
