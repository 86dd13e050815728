// Package kernels tests the collectors, and promscope with them, on the kernels that people
// run. It boots Debian's kernels in QEMU, one after the other, and runs the tests of the
// packages under ebpf/ there. docs/kernels.md says how.
package kernels
