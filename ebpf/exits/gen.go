package exits

import _ "embed"

// See ebpf/http/gen.go.
//
//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/exits.bpf.c -o exits.bpf.o
//go:generate llvm-strip-19 -g exits.bpf.o

//go:embed exits.bpf.o
var object []byte

// Maps and global variables of the object that Go code reads.
const (
	mapVictims = "victims"

	varEnds     = "ends"
	varOOMKills = "oom_kills"
	varLost     = "lost"
)
