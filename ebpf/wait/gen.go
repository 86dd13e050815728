package wait

import _ "embed"

// See ebpf/http/gen.go.
//
//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/wait.bpf.c -o wait.bpf.o
//go:generate llvm-strip-19 -g wait.bpf.o

//go:embed wait.bpf.o
var object []byte

// Programs, maps and global variables of the object that Go code names.
const (
	programThreads = "each_thread"
	mapProcesses   = "processes"
	mapLatencies   = "latencies"
	varLost        = "lost"
)
