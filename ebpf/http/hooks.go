package http

import (
	"slices"

	"github.com/promscope/promscope/ebpf/hook"
)

// Describe returns what the collector is and what it needs.
func Describe() hook.Description {
	_, needs := always()
	d := hook.Description{
		Name:         "http",
		Help:         "HTTP/1.x requests, responses and latency by process, from the kernel.",
		Interval:     DefaultInterval,
		Capabilities: hook.Capabilities(),
	}
	for _, h := range alternatives() {
		d.Alternatives = append(d.Alternatives, hook.Alternative{Name: h.String(), Needs: hook.Requirements{
			Tracepoints: slices.Concat(h.Needs.Tracepoints, needs.Tracepoints),
			Kfuncs:      slices.Concat(h.Needs.Kfuncs, needs.Kfuncs),
			Kernel:      h.Needs.Kernel,
		}})
	}
	return d
}

// hooks is one way of seeing what sockets read and write.
type hooks struct {
	// Receive and Send are the tracepoints, as /metrics names them.
	Receive, Send string
	// Programs of the object that serve it, beside those that every way needs.
	Programs []string
	Needs    hook.Requirements
}

func (h hooks) String() string { return h.Receive + "+" + h.Send }

// alternatives returns the ways, best first.
func alternatives() []hooks {
	return []hooks{
		{
			Receive:  "skb_copy_datagram_iovec",
			Send:     "tcp_sendmsg_locked",
			Programs: []string{bpfProgOnReceive, bpfProgOnSend},
			Needs: hook.Requirements{
				Tracepoints: []string{"skb_copy_datagram_iovec", "tcp_sendmsg_locked"},
				Kfuncs:      []string{"bpf_dynptr_from_skb", "bpf_dynptr_slice", "bpf_rdonly_cast"},
				Kernel:      "6.16",
			},
		},
		{
			Receive:  "skb_copy_datagram_iovec",
			Send:     "sock_send_length",
			Programs: []string{bpfProgOnReceive, bpfProgOnSent},
			Needs: hook.Requirements{
				Tracepoints: []string{"skb_copy_datagram_iovec", "sock_send_length"},
				Kfuncs:      []string{"bpf_dynptr_from_skb", "bpf_dynptr_slice", "bpf_rdonly_cast"},
				Kernel:      "6.12",
			},
		},
	}
}

// always returns what every way needs beside its own.
func always() ([]string, hook.Requirements) {
	return []string{bpfProgOnDestroy, bpfProgOnExit, bpfProgAdopt}, hook.Requirements{
		Tracepoints: []string{"tcp_destroy_sock", "sched_process_exit"},
	}
}
