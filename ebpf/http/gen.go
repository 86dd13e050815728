package http

import _ "embed"

// Clang and libbpf's headers are those of Debian: clang-19, llvm-19, libbpf-dev. With them, and
// from any directory, the objects come out the same byte for byte; CI compares. An object for
// little-endian machines serves all of them.

//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/http.bpf.c -o http.bpf.o
//go:generate llvm-strip-19 -g http.bpf.o

//go:embed http.bpf.o
var object []byte

// Maps and global variables of the object that Go code reads and writes.
const (
	mapProcesses = "processes"
	mapRareCodes = "rare_codes"
	mapAddresses = "addresses"
	mapReadings  = "readings"
	mapObservers = "observers"
	mapNotedEnds = "noted_ends"

	varOpenConnections       = "open_connections"
	varLostConnectionsLimit  = "lost_connections_limit"
	varLostConnectionsMemory = "lost_connections_memory"
	varLostRequests          = "lost_requests"
	varLostCodes             = "lost_codes"
	varLostResponses         = "lost_responses"
	varUnreadable            = "unreadable"
)
