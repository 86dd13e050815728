package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/plugin"
)

// Plugins looks at where promscope and Scope's probe meet.
type Plugins struct {
	root, id string
	machine  *host.Machine
	procRoot string
}

// NewPlugins returns the check of a promscope with that plugins root and id.
func NewPlugins(root, id string, machine *host.Machine) *Plugins {
	return &Plugins{root: root, id: id, machine: machine, procRoot: "/proc"}
}

// socketPath is where promscope's own socket is.
func (c *Plugins) socketPath() string { return filepath.Join(c.root, c.id, c.id+".sock") }

const checkRoot = "plugins root"

// Directory looks at the plugins root.
func (c *Plugins) Directory() Finding {
	info, err := os.Stat(c.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.missingRoot()
	case err != nil:
		return Failure(checkRoot, "run as root, or choose another with --scope.plugins-root", "%s", err)
	case !info.IsDir():
		return Failure(checkRoot, "remove it, or choose another with --scope.plugins-root", "%s is no directory", c.root)
	}
	if err := unix.Access(c.root, unix.W_OK|unix.X_OK); err != nil {
		return Failure(checkRoot, "run as root, or choose a writable directory with --scope.plugins-root", "%s is not writable: %s", c.root, err)
	}
	return Good(checkRoot, "%s is there and writable", c.root)
}

// missingRoot tells whether promscope could make the root.
func (c *Plugins) missingRoot() Finding {
	above := filepath.Dir(c.root)
	for {
		if _, err := os.Stat(above); err == nil || above == filepath.Dir(above) {
			break
		}
		above = filepath.Dir(above)
	}
	if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
		return Failure(checkRoot, "make it, writable for promscope, before the probe starts", "%s is not there, and %s is not writable: %s", c.root, above, err)
	}
	return Warning(checkRoot, "mkdir -p "+c.root+" and start the probe after that: it looks for plugins only if the directory was there at its start",
		"%s is not there; promscope will make it", c.root)
}

// Probe is a running probe of Weave Scope.
type Probe struct {
	PID  int
	name string
	root string // its --probe.plugins.root
	// start is when it was started.
	start time.Time
}

// FindProbes looks for probes among the processes.
func (c *Plugins) FindProbes() []Probe {
	entries, err := os.ReadDir(c.procRoot)
	if err != nil {
		return nil // the machine's finding says so
	}
	var probes []Probe
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join(c.procRoot, e.Name(), "cmdline"))
		if err != nil || len(content) == 0 {
			continue // it has ended, or is a kernel thread
		}
		var args []string
		for arg := range bytes.SplitSeq(bytes.TrimSuffix(content, []byte{0}), []byte{0}) {
			args = append(args, string(arg))
		}
		if root, is := probeRoot(args); is {
			probe := Probe{PID: pid, name: filepath.Base(args[0]), root: root}
			if p, err := c.machine.Process(pid); err == nil {
				probe.start = p.Start
			}
			probes = append(probes, probe)
		}
	}
	slices.SortFunc(probes, func(a, b Probe) int { return a.PID - b.PID })
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

// Probes says for each probe whether it looks where promscope's socket will be.
func (c *Plugins) Probes(found []Probe) []Finding {
	const check = "probe"
	if len(found) == 0 {
		return []Finding{Warning(check, "start Scope; if it runs, let promscope see the host's processes (Docker: --pid=host)", "no running probe of Scope is to be seen")}
	}
	var findings []Finding
	for _, p := range found {
		who := fmt.Sprintf("%s (pid %d)", p.name, p.PID)
		seen, born, err := c.statIn(p.PID, p.root)
		own, _, ownErr := c.statIn(0, c.root)
		switch {
		case err != nil && errors.Is(err, unix.ENOENT):
			findings = append(findings, Failure(check, "make that directory where the probe runs, and restart the probe (Docker: -v "+c.root+":"+p.root+")",
				"%s looks for plugins in %s, which is not there where it runs", who, p.root))
		case err != nil:
			findings = append(findings, Warning(check, "run the doctor as root", "%s looks for plugins in %s; whether that is the same directory may not be looked at: %s", who, p.root, err))
		case ownErr != nil:
			findings = append(findings, Warning(check, "set --scope.plugins-root to the directory that the probe looks into", "%s looks for plugins in %s", who, p.root))
		case seen != own:
			findings = append(findings, Failure(check, "share the directory (Docker: -v "+c.root+":"+p.root+" for the probe), or set --scope.plugins-root to it",
				"%s looks for plugins in %s, which is another directory than promscope's %s", who, p.root, c.root))
		case !born.IsZero() && !p.start.IsZero() && born.After(p.start.Add(time.Second)):
			findings = append(findings, Failure(check, "restart the probe: it looks for plugins only if the directory was there at its start",
				"%s was started %s before %s was made", who, born.Sub(p.start).Round(time.Second), p.root))
		default:
			findings = append(findings, Good(check, "%s looks into the same directory, as %s", who, p.root))
		}
	}
	return findings
}

// directoryID tells a directory from all others.
type directoryID struct {
	major, minor uint32
	inode        uint64
}

// statIn looks at a path as a process sees it, in its mount namespace and below
// its root: an absolute symbolic link, as /var/run is one, leads to where it leads
// for that process. The process 0 is this one.
func (c *Plugins) statIn(pid int, path string) (id directoryID, born time.Time, err error) {
	root := "/"
	if pid > 0 {
		root = filepath.Join(c.procRoot, strconv.Itoa(pid), "root")
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return id, born, err
	}
	defer func() { _ = unix.Close(dir) }()
	if !filepath.IsAbs(path) {
		if path, err = filepath.Abs(path); err != nil {
			return id, born, err
		}
	}
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return id, born, err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return id, born, err
	}
	if stat.Mask&unix.STATX_BTIME != 0 {
		born = time.Unix(stat.Btime.Sec, int64(stat.Btime.Nsec))
	}
	return directoryID{stat.Dev_major, stat.Dev_minor, stat.Ino}, born, nil
}

// maxSockets bounds how many sockets below the root are looked at.
const maxSockets = 100

// Sockets looks at all sockets that the probe would find.
func (c *Plugins) Sockets(ctx context.Context) []Finding {
	var findings []Finding
	seen := 0
	walk := func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // what may not be read, the probe's own rights may differ
		case ctx.Err() != nil || seen == maxSockets:
			return fs.SkipAll
		case path == c.socketPath() && entry.Type() != fs.ModeSocket:
			findings = append(findings, Failure("socket", "remove it, or choose another name with --scope.plugin-id", "%s is no socket, and not promscope's to remove", path))
		case entry.Type() == fs.ModeSocket:
			seen++
			findings = append(findings, c.socket(ctx, path))
		}
		return nil
	}
	_ = filepath.WalkDir(c.root, walk) // walk returns none
	if len(findings) == 0 {
		return []Finding{Good("socket", "no plugin has one yet; promscope's will be %s", c.socketPath())}
	}
	return findings
}

// socket looks at one socket.
func (c *Plugins) socket(ctx context.Context, path string) Finding {
	const check = "socket"
	own := path == c.socketPath()
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		defer func() { _ = conn.Close() }()
		who := "a process that cannot be seen"
		if pid, err := c.machine.PeerPID(conn); err == nil {
			who = fmt.Sprintf("pid %d", pid)
			if p, err := c.machine.Process(pid); err == nil {
				who = fmt.Sprintf("%s (pid %d)", p.Comm, pid)
			}
		}
		if plugin.CheckID(name) != nil {
			return Warning(check, "give it a name of letters, digits and single dashes", "%s of %s will never be polled, because of its name", path, who)
		}
		if own {
			return Good(check, "%s is served by %s: promscope runs already", path, who)
		}
		return Good(check, "%s is another plugin's, %s", path, who)
	case errors.Is(err, unix.ECONNREFUSED) && own:
		return Warning(check, "", "%s is a leftover; promscope takes it over at its start", path)
	case errors.Is(err, unix.ECONNREFUSED):
		return Warning(check, "start its plugin, or remove the file: Scope shows it as an error for as long as it is there", "nobody listens on %s", path)
	}
	return Warning(check, "", "%s cannot be looked at: %s", path, err)
}
