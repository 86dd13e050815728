// Package wait says how long threads wait for a CPU, and for I/O: for each process how long its
// threads did together, and for the host how long each wait for a CPU took.
//
// The kernel has counted most of it already. An iterator reads of each thread how long it has
// waited for a CPU; that takes a tenth of a microsecond a thread, where
// /proc/PID/task/TID/schedstat takes 20. Waits for I/O are counted by the kernel only while the
// sysctl kernel.task_delayacct is 1. They are seen at sched_switch, as is how long each wait
// for a CPU took. bpf/wait.bpf.c has how.
package wait
