package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// probe is a running probe of Weave Scope.
type probe struct {
	PID   int
	name  string
	root  string // its --probe.plugins.root
	start time.Time
}

// findProbes looks for probes among the processes.
func (c *plugins) findProbes() []probe {
	pids, err := c.machine.PIDs()
	if err != nil {
		return nil // the machine's finding says so
	}
	var probes []probe
	for _, pid := range pids {
		args, err := c.machine.CmdLine(pid)
		if err != nil || len(args) == 0 {
			continue // it has ended, or is a kernel thread
		}
		root, is := probeRoot(args)
		if !is {
			continue
		}
		if p, err := c.machine.Process(pid); err == nil {
			probes = append(probes, probe{PID: pid, name: filepath.Base(args[0]), root: root, start: p.Start})
		}
	}
	slices.SortFunc(probes, func(a, b probe) int { return cmp.Compare(a.PID, b.PID) })
	return probes
}

// probeRoot reads a command line. Scope's entrypoint runs the probe as
// "scope-probe", a user perhaps as "scope --mode=probe".
func probeRoot(args []string) (root string, is bool) {
	root = "/var/run/scope/plugins"
	name := filepath.Base(args[0])
	is = name == "scope-probe"
	for i, arg := range args[1:] {
		flag, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		if !joined && i+2 < len(args) {
			value = args[i+2]
		}
		switch flag {
		case "mode":
			is = is || name == "scope" && value == "probe"
		case "probe.plugins.root":
			root, is = value, is || name == "scope"
		}
	}
	return root, is
}

// probes says for each probe whether it looks where promscope's socket will be.
func (c *plugins) probes(found []probe) []Finding {
	if len(found) == 0 {
		return []Finding{warning("probe", "start Scope; if it runs, let promscope see the host's processes (Docker: --pid=host)", "no running probe of Scope is to be seen")}
	}
	findings := make([]Finding, len(found))
	for i, p := range found {
		findings[i] = c.probe(p)
	}
	return findings
}

func (c *plugins) probe(p probe) Finding {
	const check = "probe"
	who := fmt.Sprintf("%s (pid %d)", p.name, p.PID)
	seen, born, err := c.statIn(p.PID, p.root)
	own, _, ownErr := c.statIn(0, c.root)
	switch {
	case errors.Is(err, unix.ENOENT):
		return failure(check, "make that directory where the probe runs, and restart the probe (Docker: -v "+c.root+":"+p.root+")",
			"%s looks for plugins in %s, which is not there where it runs", who, p.root)
	case errors.Is(err, fs.ErrPermission):
		return warning(check, "run the doctor as root",
			"%s looks for plugins in %s; whether that is the same directory may not be looked at: %s", who, p.root, err)
	case err != nil:
		return warning(check, "see to it that both are the same directory (Docker: -v "+c.root+":"+p.root+" for the probe)",
			"%s looks for plugins in %s; whether that is promscope's %s cannot be told: %s", who, p.root, c.root, err)
	case ownErr != nil:
		return warning(check, "set --scope.plugins-root to the directory that the probe looks into", "%s looks for plugins in %s", who, p.root)
	case seen != own:
		return failure(check, "share the directory (Docker: -v "+c.root+":"+p.root+" for the probe), or set --scope.plugins-root to it",
			"%s looks for plugins in %s, which is another directory than promscope's %s", who, p.root, c.root)
	case !born.IsZero() && born.After(p.start.Add(time.Second)):
		return failure(check, "restart the probe: it looks for plugins only if the directory was there at its start",
			"%s was started %s before %s was made", who, born.Sub(p.start).Round(time.Second), p.root)
	}
	return good(check, "%s looks into the same directory, as %s", who, p.root)
}

// directoryID is the identity of a directory.
type directoryID struct {
	major, minor uint32
	inode        uint64
}

// statIn returns the identity of the directory at a path, and when it was made if the
// file system tells. The path is as a process sees it, below that process's root: an
// absolute symbolic link, as /var/run is one, leads to where it leads for the process.
// The process 0 is this one.
func (c *plugins) statIn(pid int, path string) (id directoryID, born time.Time, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	var dir *os.File
	if pid > 0 {
		dir, err = c.machine.OpenInRoot(pid, path, flags)
	} else {
		dir, err = os.OpenFile(path, flags, 0)
	}
	if err != nil {
		return id, born, err
	}
	defer func() { _ = dir.Close() }()
	var stat unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return id, born, err
	}
	if stat.Mask&unix.STATX_BTIME != 0 {
		born = time.Unix(stat.Btime.Sec, int64(stat.Btime.Nsec))
	}
	return directoryID{stat.Dev_major, stat.Dev_minor, stat.Ino}, born, nil
}
