package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/promscope/promscope/mapping"
)

// unjudged are the metrics of which the servers of TestEverything do not know the truth, and
// where it is known. They take their places on the nodes all the same.
func unjudged() map[string]string {
	const (
		http = "the servers do not count what they answer to their exporters; ebpf/http and TestNumbers count requests of known number"
		wait = "servers do not know how long they wait; ebpf/wait compares it with /proc/PID/schedstat and delay accounting"
		disk = "servers do not know what their pages cost; ebpf/disk writes files of known size"
		tcp  = "the kernel says it of each network namespace, and the collector of all; ebpf/tcp loses segments of known number"
		host = "it is of the whole machine, on which others run; the collector's own tests compare it with the kernel's figures"
	)
	return map[string]string{
		"promscope_http_requests": http, "promscope_http_errors": http, "promscope_http_p99": http,
		"promscope_http_p50": http, "promscope_http_in_flight": http,
		"promscope_cpu_wait": wait, "promscope_io_wait": wait,
		"promscope_disk_read": disk, "promscope_disk_written": disk,
		"promscope_tcp_retransmits": tcp,
		"promscope_io_pressure":     host, "promscope_runqueue_p99": host, "promscope_disk_p99": host,
		"promscope_oom_kills": host, "promscope_crashes": host,
	}
}

// outside tells whether a process node is of a process that runs beside the sandbox, in
// another network namespace: the collectors count for the whole machine.
func outside(t *testing.T, topo, node string) bool {
	t.Helper()
	pid, found := strings.CutPrefix(node, hostName+";")
	if topo != string(mapping.Process) || !found {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	of, err := os.Readlink(fmt.Sprintf("/proc/%s/ns/net", pid))
	return err != nil || of != own // one that has just ended is not judged
}

// judgeOthers says what is wrong with the nodes of those that are none of the servers, as a
// server's workers and clients: they show what the kernel sees of them, and no more than
// their budget.
func (s shown) judgeOthers(t *testing.T, known map[string]bool) (wrong []error) {
	t.Helper()
	for topo, nodes := range s.last.Topologies {
		for key, node := range nodes.Nodes {
			if n, most := len(node.Metrics), mapping.Topology(topo).Budget(); n > most {
				wrong = append(wrong, fmt.Errorf("%s shows %d metrics", key, n))
			}
			if known[topo+" "+key] || outside(t, topo, key) {
				continue
			}
			for id := range node.Metrics {
				if unjudged()[id] == "" {
					wrong = append(wrong, fmt.Errorf("%s %s is none of the servers, and has %s", topo, key, id))
				}
			}
		}
	}
	return wrong
}
