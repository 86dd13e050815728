package http

import (
	"time"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// Definition says what the collector is and what it needs.
func Definition() collector.Definition {
	return collector.Definition{
		Name:         "http",
		Help:         "HTTP/1.x requests, responses and latency by process, from the kernel.",
		Interval:     time.Second,
		Prefixes:     []string{"promscope_http_"},
		Capabilities: load.Capabilities(),
		Kernel:       "5.10",
		HookSets:     hookSets(),
		Options:      func() collector.Options { return defaultOptions() },
	}
}

// hookSets returns the ways of seeing what sockets read and write, best first. The ends of connections
// and processes are attached first, so that nothing is tracked whose end is missed; what is open before
// comes last.
func hookSets() []collector.HookSet {
	return []collector.HookSet{
		{
			// The cheapest. It sees the segments of a reader, whoever reads.
			Name:          tracepoints,
			Programs:      []string{"on_destroy", "on_exit", "on_receive", "on_send", "adopt_open"},
			Architectures: littleEndian(),
			Kfuncs:        []string{"bpf_dynptr_from_skb", "bpf_rdonly_cast"},
			Kernel:        "6.16",
		},
		{
			// No program of these is preempted, and their hooks are on all kernels.
			Name: "kprobes",
			Programs: []string{
				"kprobe_destroy", "kprobe_exit", "kprobe_splice", "kprobe_getsockopt",
				"kprobe_receive", "kprobe_received", "kprobe_send", "adopt_open",
			},
			Kernel:        "5.10",
			Architectures: []string{"amd64", "arm64"},
		},
		{
			// For kernels without kprobes.
			Name: "trampolines",
			Programs: []string{
				"on_destroy", "on_exit", "fentry_splice", "fentry_getsockopt",
				"fentry_receive", "fentry_received", "fentry_send", "adopt_open",
			},
			Kernel:        "5.10 (arm64: 6.4)",
			Architectures: littleEndian(),
		},
	}
}

// littleEndian returns the architectures that the object can be loaded on.
func littleEndian() []string { return []string{"amd64", "arm64", "loong64", "ppc64le", "riscv64"} }

// tracepoints is the name of the hook set whose programs are given typed pointers.
const tracepoints = "tracepoints"
