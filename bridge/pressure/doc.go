// Package pressure says how long the machine, and each of its containers and pods, was
// short of CPU, memory or I/O: the kernel's pressure stall information (PSI) as counters.
// The kernel counts it in any case: to read it costs nothing but the reading.
//
// "some" of it is the time in which at least one thread waited, and "full" that in which
// no other thread of the group ran (Documentation/accounting/psi.rst). They are called
// waiting and stalled here, as in node_exporter.
package pressure
