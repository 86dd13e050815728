package wait

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
)

// See ebpf/http/gen.go.
//
//go:generate clang-19 -target bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. -I../bpf -c bpf/wait.bpf.c -o wait.bpf.o
//go:generate llvm-strip-19 -g wait.bpf.o

//go:embed wait.bpf.o
var object []byte

// loadSpec reads the object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return spec, nil
}

// Programs, maps and global variables of the object that Go code names.
const (
	programThreads = "each_thread"
	mapProcesses   = "processes"
	mapLatencies   = "latencies"
	varLostIO      = "lost_io"
)
