package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/sys/unix"
)

// thisHost is what the kernel says of the host.
func thisHost(t *testing.T) server {
	t.Helper()
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	disks, err := blockdevice.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	host := server{
		name: "the host", topo: "Host", node: hostNode,
		ask: func() (map[string]float64, error) { return askHost(fs, disks) },
		want: map[string]expectation{
			"promscope_cpu_iowait":             {rate: true, value: ratio(100, "iowait", "cpu", 1).value},
			"promscope_node_memory_available":  quotient(100, "available", "memory", 2),
			"promscope_node_filesystem_used__": level(1, "used /", 0.5),
		},
		may: map[string]expectation{
			"promscope_node_pressure_cpu":     increase(100, "pressure cpu", 3),
			"promscope_node_pressure_memory":  increase(100, "pressure memory", 3),
			"promscope_node_tcp_retransmits":  increase(1, "retransmits", 0.5), // without the collector tcp
			"promscope_node_swap_used":        quotient(100, "swapped", "swap", 2),
			"promscope_node_procs_blocked":    between(0, 50),
			"promscope_node_context_switches": increase(1, "switches", 100),
		},
	}
	// The mount points and disks of this machine.
	says, err := host.ask()
	if err != nil {
		t.Fatal(err)
	}
	// Whatever else runs on the machine reads and writes in bursts: no steady load.
	for name := range says {
		id := regexp.MustCompile(`\W`).ReplaceAllString
		switch kind, of, _ := strings.Cut(name, " "); kind {
		case "used":
			host.may["promscope_node_filesystem_used_"+id(of, "_")] = level(1, name, 0.5)
		case "busy":
			host.may["promscope_node_disk_busy_"+id(of, "_")] = increase(1, name, 30)
		case "read":
			host.may["promscope_node_disk_read_"+id(of, "_")] = increase(1, name, 1e7)
		case "written":
			host.may["promscope_node_disk_written_"+id(of, "_")] = increase(1, name, 1e7)
		case "waited":
			host.may["promscope_node_disk_latency_"+id(of, "_")] = between(0, 1000)
		}
	}
	return host
}

// askHost asks the kernel, whose counters are of what others do on the machine as well.
func askHost(fs procfs.FS, disks blockdevice.FS) (map[string]float64, error) {
	says := map[string]float64{}
	stat, errStat := fs.Stat()
	total := stat.CPUTotal
	says["iowait"] = total.Iowait
	says["cpu"] = total.User + total.Nice + total.System + total.Idle + total.Iowait + total.IRQ + total.SoftIRQ + total.Steal
	says["switches"] = float64(stat.ContextSwitches)

	memory, errMemory := fs.Meminfo()
	if errMemory == nil {
		says["available"], says["memory"] = float64(*memory.MemAvailable), float64(*memory.MemTotal)
		says["swapped"], says["swap"] = float64(*memory.SwapTotal-*memory.SwapFree), float64(*memory.SwapTotal)
	}
	self, errSelf := fs.Self()
	snmp, errSNMP := self.Snmp()
	if errSNMP == nil {
		says["retransmits"] = *snmp.Tcp.RetransSegs
	}
	for _, resource := range []string{"cpu", "memory"} {
		pressure, err := fs.PSIStatsForResource(resource)
		if err == nil && pressure.Some != nil {
			says["pressure "+resource] = float64(pressure.Some.Total) / 1e6
		}
	}
	mounts, errMounts := procfs.GetMounts()
	for _, mount := range mounts {
		var s unix.Statfs_t
		if err := unix.Statfs(mount.MountPoint, &s); err == nil && s.Blocks > 0 {
			used := float64(s.Blocks - s.Bfree)
			says["used "+mount.MountPoint] = 100 * used / (used + float64(s.Bavail))
		}
	}
	stats, errDisks := disks.ProcDiskstats()
	for _, s := range stats {
		says["busy "+s.DeviceName] = 100 * float64(s.IOsTotalTicks) / 1000
		says["read "+s.DeviceName] = 512 * float64(s.ReadSectors)
		says["written "+s.DeviceName] = 512 * float64(s.WriteSectors)
		says["waited "+s.DeviceName] = float64(s.ReadTicks + s.WriteTicks)
		says["done "+s.DeviceName] = float64(s.ReadIOs + s.WriteIOs)
	}
	return says, errors.Join(errStat, errMemory, errSelf, errSNMP, errMounts, errDisks)
}
