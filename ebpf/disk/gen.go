package disk

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
)

// Clang and libbpf's headers are those of Debian: clang-19, llvm-19, libbpf-dev. An object for little-endian machines
// serves all of them.

//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/disk.bpf.c -o disk.bpf.o
//go:generate llvm-strip-19 -g disk.bpf.o

//go:embed disk.bpf.o
var object []byte

// loadSpec reads the object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return spec, nil
}

// Maps and global variables of the object that Go code reads and writes, and the program that Go code runs.
const (
	mapRequests = "requests"
	mapEnded    = "ended"

	varLostRequests = "lost_requests"
	varLostEnds     = "lost_ends"

	programTasks = "read_tasks"
)
