package disk

import _ "embed"

// See ebpf/http/gen.go.
//
//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/disk.bpf.c -o disk.bpf.o
//go:generate llvm-strip-19 -g disk.bpf.o

//go:embed disk.bpf.o
var object []byte

// Maps and global variables of the object that Go code reads and writes, and the program that Go code runs.
const (
	mapRequests = "requests"
	mapEnded    = "ended"

	varLostRequests   = "lost_requests"
	varLostRequesters = "lost_requesters"
	varLostEnds       = "lost_ends"

	programTasks = "read_tasks"
)
