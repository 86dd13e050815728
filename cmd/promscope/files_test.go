package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// files is how many files a process has open.
type files struct {
	all      int
	kernel   int // maps, programs and links of eBPF
	sockets  int
	pressure int // three for each container, also for those of other tests
}

// own is how many there are, however many containers the machine has.
func (f files) own() int { return f.all - f.pressure }

func openFiles(pid int) files {
	var f files
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, path := range paths {
		target, err := os.Readlink(path)
		if err != nil {
			continue // closed meanwhile
		}
		f.all++
		switch {
		case strings.HasPrefix(target, "anon_inode:bpf"), strings.HasPrefix(target, "anon_inode:[perf_event"):
			f.kernel++
		case strings.HasPrefix(target, "socket:"):
			f.sockets++
		case strings.HasSuffix(target, ".pressure"):
			f.pressure++
		}
	}
	return f
}
