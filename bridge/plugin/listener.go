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
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// errInUse says that another instance serves the plugin's socket.
var errInUse = errors.New("another instance is running")

const (
	// maxSocketPath is the length of sun_path (unix(7)) less the terminating zero.
	maxSocketPath = 107

	// dialTimeout bounds the dial that tells whether a process listens on a socket
	// that is there already. The kernel answers it at once.
	dialTimeout = time.Second
)

// Listener listens on a plugin's socket, and looks after it: [Listener.Check] makes it
// again where it went. Closing the listener removes the socket.
type Listener struct {
	path   string
	logger *slog.Logger

	mu      sync.Mutex // held while the socket is made or removed
	closed  bool
	current atomic.Pointer[socket]
	problem atomic.Pointer[error] // what the last Check found
}

// socket is one that listens, and its file in a locked directory.
type socket struct {
	*net.UnixListener

	dir  *directory
	name string // in dir
	file fs.FileInfo
}

// Listen listens on <root>/<id>/<id>.sock. The root is made if missing and stays;
// the directory below it is made with mode 0700 and goes with the socket. One that is there
// already stays, and gets that mode if there is nothing else in it.
//
// Listen replaces a socket that no process listens on. It leaves alone a live one and
// what is no socket, and returns an error. It also returns one if another promscope has
// locked the plugin's directory, so that two starts at the same time are safe.
func Listen(root, id string, logger *slog.Logger) (*Listener, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	l := &Listener{path: filepath.Join(root, id, id+".sock"), logger: logger}
	if len(l.path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes and may have %d: choose a shorter one with --scope.plugins-root",
			l.path, len(l.path), maxSocketPath)
	}
	s, err := l.bind()
	if err != nil {
		return nil, err
	}
	l.current.Store(s)
	if s.dir.tookOver {
		logger.Info("Took over a socket that nobody listened on", "socket", l.path)
	}
	return l, nil
}

// bind makes the directory and the socket in it.
func (l *Listener) bind() (*socket, error) {
	dir, err := lockDirectory(filepath.Dir(l.path))
	if err != nil {
		return nil, withRemedy(fmt.Errorf("plugin directory: %w", err))
	}
	s, err := bindIn(dir, l.path)
	if err != nil {
		dir.release()
		return nil, err
	}
	return s, nil
}

// bindIn makes a socket in a directory whose lock is held.
func bindIn(dir *directory, path string) (*socket, error) {
	s, err := listen(path, dir)
	if err != nil {
		return nil, withRemedy(fmt.Errorf("plugin socket: %w", err))
	}
	return s, nil
}

func listen(path string, dir *directory) (*socket, error) {
	stale, err := removeStale(path)
	if err != nil {
		return nil, err
	}
	// A leftover socket of this name shows that an earlier promscope, killed
	// before it could tidy up, lived in this directory.
	dir.tookOver = dir.tookOver || stale

	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The standard library would remove any file that has the name by then.
	listener.SetUnlinkOnClose(false)

	s := &socket{UnixListener: listener, dir: dir, name: filepath.Base(path)}
	if s.file, err = os.Lstat(path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	// The directory keeps others out, unless somebody made it before us.
	if err := os.Chmod(path, 0o600); err != nil {
		_, removeErr := s.remove()
		return nil, errors.Join(err, removeErr, listener.Close())
	}
	return s, nil
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
		return false, fmt.Errorf("%s is in the way: it is no socket, and not promscope's to remove (move it away)", path)
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

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.current.Load().Addr() }

// Accept implements net.Listener. It goes on where the socket was made again.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		s := l.current.Load()
		conn, err := s.Accept()
		if err == nil || s == l.current.Load() {
			return conn, err
		}
	}
}

// Close removes the socket, stops listening, and removes the plugin's directory if
// it is promscope's and empty. Connections that were accepted stay. Closing again
// does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	s := l.current.Load()
	// The file goes first: a socket that is there and refuses is what the probe
	// shows as an error.
	replaced, err := s.remove()
	if replaced {
		l.logger.Warn("Not removing the plugin socket, which has been replaced", "socket", l.path)
	}
	err = errors.Join(err, s.Close())
	s.dir.release()
	return err
}

// remove removes the socket's file unless something else has taken its name. The
// inode of a bound socket is not reused, so that comparing it is enough.
func (s *socket) remove() (replaced bool, err error) {
	info, err := s.dir.root.Lstat(s.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !os.SameFile(info, s.file):
		return true, nil
	}
	if err := s.dir.root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, nil
}

func inUse(path string) error {
	return fmt.Errorf("%s: %w (stop it, or choose another name with --scope.plugin-id)", path, errInUse)
}

// withRemedy adds what helps against a lack of rights.
func withRemedy(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w (run as root, or choose a writable directory with --scope.plugins-root)", err)
	}
	return err
}
