package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/plugin"
)

// plugins looks at where promscope and Scope's probe meet.
type plugins struct {
	root, id string
	machine  *host.Machine
}

// newPlugins returns the check of a promscope with that plugins root and id.
func newPlugins(root, id string, machine *host.Machine) *plugins {
	return &plugins{root: root, id: id, machine: machine}
}

// socketPath is where promscope's own socket is.
func (c *plugins) socketPath() string { return filepath.Join(c.root, c.id, c.id+".sock") }

const checkRoot = "plugins root"

// directory looks at where the socket will be: promscope's own directory in the plugins
// root, where that is there already, else the root in which promscope makes it.
func (c *plugins) directory() Finding {
	own := filepath.Dir(c.socketPath())
	if info, err := os.Stat(own); err == nil && info.IsDir() && unix.Access(own, unix.W_OK|unix.X_OK) == nil {
		return good(checkRoot, "%s is there and writable", own)
	}
	info, err := os.Stat(c.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.missingRoot()
	case err != nil:
		return failure(checkRoot, "run as root, or choose another with --scope.plugins-root", "%s", err)
	case !info.IsDir():
		return failure(checkRoot, "remove it, or choose another with --scope.plugins-root", "%s is no directory", c.root)
	}
	if err := unix.Access(c.root, unix.W_OK|unix.X_OK); err != nil {
		return failure(checkRoot, "run as root, or choose a writable directory with --scope.plugins-root", "%s is not writable: %s", c.root, err)
	}
	return good(checkRoot, "%s is there and writable", c.root)
}

// missingRoot tells whether promscope could make the root.
func (c *plugins) missingRoot() Finding {
	above := filepath.Dir(c.root)
	for {
		if _, err := os.Stat(above); err == nil || above == filepath.Dir(above) {
			break
		}
		above = filepath.Dir(above)
	}
	if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
		return failure(checkRoot, "make it, writable for promscope, before the probe starts", "%s is not there, and %s is not writable: %s", c.root, above, err)
	}
	return warning(checkRoot, "mkdir -p "+c.root+" and start the probe after that: it looks for plugins only if the directory was there at its start",
		"%s is not there; promscope will make it", c.root)
}

// maxSockets bounds how many sockets below the root are looked at.
const maxSockets = 100

// sockets looks at all sockets that the probe would find.
func (c *plugins) sockets(ctx context.Context) []Finding {
	var findings []Finding
	seen := 0
	walk := func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // what may not be read, the probe's own rights may differ
		case ctx.Err() != nil || seen == maxSockets:
			return fs.SkipAll
		case path == c.socketPath() && entry.Type() != fs.ModeSocket:
			findings = append(findings, failure("socket", "remove it, or choose another name with --scope.plugin-id", "%s is no socket, and not promscope's to remove", path))
		case entry.Type() == fs.ModeSocket:
			seen++
			findings = append(findings, c.socket(ctx, path))
		}
		return nil
	}
	_ = filepath.WalkDir(c.root, walk) // walk returns none
	if len(findings) == 0 {
		return []Finding{good("socket", "no plugin has one yet; promscope's will be %s", c.socketPath())}
	}
	return findings
}

// socket looks at one socket.
func (c *plugins) socket(ctx context.Context, path string) Finding {
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
			return warning(check, "give it a name of letters, digits and single dashes", "%s of %s will never be polled, because of its name", path, who)
		}
		if own {
			return good(check, "%s is served by %s: promscope runs already", path, who)
		}
		return good(check, "%s is another plugin's, %s", path, who)
	case errors.Is(err, unix.ECONNREFUSED) && own:
		return warning(check, "", "%s is a leftover; promscope takes it over at its start", path)
	case errors.Is(err, unix.ECONNREFUSED):
		return warning(check, "start its plugin, or remove the file: Scope shows it as an error for as long as it is there", "nobody listens on %s", path)
	}
	return warning(check, "", "%s cannot be looked at: %s", path, err)
}
