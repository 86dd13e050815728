package http

// Clang and libbpf's headers are those of Debian: clang-19, llvm-19, libbpf-dev. With them, and
// from any directory, the objects come out the same byte for byte; TestGenerated compares.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target bpfel -go-package http bpf bpf/http.bpf.c -- -I../bpf -O2 -mcpu=v3 -Wall -Werror
