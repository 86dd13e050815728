package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another instance serves the plugin's socket.
var ErrInUse = errors.New("another instance is running")

const (
	// maxSocketPath is the length of sun_path (unix(7)) less the terminating zero.
	maxSocketPath = 107

	// dialTimeout bounds the dial that tells whether a process listens on a socket
	// that is there already. The kernel answers it at once.
	dialTimeout = time.Second
)

// Listener listens on a plugin's socket. Closing it removes the socket.
type Listener struct {
	*net.UnixListener

	path   string
	dir    *directory
	socket fs.FileInfo
	logger *slog.Logger
	close  func() error
}

// Listen listens on <root>/<id>/<id>.sock. The root is made if missing and stays;
// the directory below it is made with mode 0700 and goes with the socket.
//
// Listen replaces a socket that no process listens on. It leaves alone a live one and
// what is no socket, and returns an error, for a live one ErrInUse. It also returns
// ErrInUse if another promscope has locked the plugin's directory, so that two starts
// at the same time are safe.
func Listen(root, id string, logger *slog.Logger) (*Listener, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	path := filepath.Join(root, id, id+".sock")
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes and may have %d: choose a shorter one with --scope.plugins-root",
			path, len(path), maxSocketPath)
	}

	dir, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, withRemedy(fmt.Errorf("plugin directory: %w", err))
	}
	l, err := listen(path, dir, logger)
	if err != nil {
		dir.release()
		return nil, withRemedy(fmt.Errorf("plugin socket: %w", err))
	}
	if dir.tookOver {
		logger.Info("Took over a socket that nobody listened on", "socket", path)
	}
	return l, nil
}

// listen binds the socket. The directory's lock is held.
func listen(path string, dir *directory, logger *slog.Logger) (*Listener, error) {
	stale, err := removeStale(path)
	if err != nil {
		return nil, err
	}
	// A leftover socket of this name shows that an earlier promscope, killed
	// before it could tidy up, lived in this directory.
	dir.tookOver = stale

	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The standard library would remove any file that has the name by then.
	listener.SetUnlinkOnClose(false)

	l := &Listener{UnixListener: listener, path: path, dir: dir, logger: logger}
	l.close = sync.OnceValue(l.tearDown)
	if l.socket, err = os.Lstat(path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	// The directory keeps others out, unless somebody made it before us.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.removeSocket(), listener.Close())
	}
	return l, nil
}

// removeStale removes the socket at path if nobody listens on it. Only a refused
// connection proves that.
func removeStale(path string) (removed bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return false, fmt.Errorf("%s is no socket, and not promscope's to remove", path)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(context.Background(), "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return false, inUse(path)
	case errors.Is(err, unix.ENOENT):
		return false, nil // it went meanwhile
	case !errors.Is(err, unix.ECONNREFUSED):
		return false, fmt.Errorf("cannot tell whether the socket is in use: %w", err)
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return true, nil
}

// Path returns the socket's path.
func (l *Listener) Path() string { return l.path }

// Close removes the socket, stops listening, and removes the plugin's directory if
// it is promscope's and empty. Connections that were accepted stay. Closing again
// does nothing.
func (l *Listener) Close() error { return l.close() }

func (l *Listener) tearDown() error {
	// The file goes first: a socket that is there and refuses is what the probe
	// shows as an error.
	err := errors.Join(l.removeSocket(), l.UnixListener.Close())
	l.dir.release()
	return err
}

// removeSocket removes the socket unless something else has taken its name. The
// inode of a bound socket is not reused, so that comparing it is enough.
func (l *Listener) removeSocket() error {
	info, err := os.Lstat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !os.SameFile(info, l.socket) {
		l.logger.Warn("Not removing the plugin socket, which has been replaced", "socket", l.path)
		return nil
	}
	if err := unix.Unlink(l.path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unlink", Path: l.path, Err: err}
	}
	return nil
}

func inUse(path string) error {
	return fmt.Errorf("%s: %w (stop it, or choose another name with --scope.plugin-id)", path, ErrInUse)
}

// withRemedy adds what helps against a lack of rights.
func withRemedy(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w (run as root, or choose a writable directory with --scope.plugins-root)", err)
	}
	return err
}
