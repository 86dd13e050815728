package tcp

import _ "embed"

// See ebpf/http/gen.go.
//
//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/tcp.bpf.c -o tcp.bpf.o
//go:generate llvm-strip-19 -g tcp.bpf.o

//go:embed tcp.bpf.o
var object []byte

// Programs, maps and global variables of the object that Go code names.
const (
	programAdopt     = "adopt_open"
	programSockets   = "each_socket"
	programFiles     = "each_file"
	programProcesses = "each_process"

	mapProcesses   = "processes"
	mapCreds       = "creds"
	mapConnections = "connections"
	mapSums        = "sums"
	mapListeners   = "listeners"

	varGeneration      = "generation"
	varUnownedIn       = "unowned_in"
	varLostConnections = "lost_connections"
	varLostEnds        = "lost_ends"
	varLostProcesses   = "lost_processes"
)
