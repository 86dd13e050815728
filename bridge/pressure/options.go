package pressure

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/promscope/promscope/ebpf/collector"
)

// Definition says what the collector is. It needs no rights and no hooks.
func Definition() collector.Definition {
	return collector.Definition{
		Name:     "pressure",
		Help:     "Time for which the host, containers and pods were short of CPU, memory or I/O, from the kernel's PSI.",
		Interval: time.Second,
		Prefixes: []string{prefixHost, prefixContainer, prefixPod},
		Kernel:   "4.20",
		Options:  func() collector.Options { return &options{MaxContainers: 256} },
	}
}

// mostContainers bounds the open files: three of each.
const mostContainers = 1 << 14

type options struct {
	// MaxContainers is how many containers and pods are read. Those beyond are left out.
	// 0 is the host alone.
	MaxContainers int `yaml:"max_containers"`
}

// Check implements collector.Options.
func (o *options) Check() []collector.Problem {
	if o.MaxContainers < 0 || o.MaxContainers > mostContainers {
		return []collector.Problem{{Option: "max_containers", Message: fmt.Sprintf("must be between 0 and %d", mostContainers)}}
	}
	return nil
}

// Open implements collector.Options.
func (o *options) Open(env collector.Environment) (collector.Collector, error) {
	return open("/proc/pressure", cgroupRoot(), env.Interval, o.MaxContainers)
}

// explain says why the host's pressure cannot be read. Without PSI the directory is not
// there, or, on kernels before 5.12, what is in it cannot be read.
func explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
		return &collector.Error{
			Reason: "the kernel's pressure stall information (PSI) is off",
			Remedy: "boot with psi=1; if /proc/pressure is not there even so, the kernel was built without CONFIG_PSI",
			Err:    err,
		}
	}
	return err
}
