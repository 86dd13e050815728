package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrRootGone says that the plugins root was removed where it is mounted from. Only a new
// mount helps, which comes with a restart of the container or of the systemd service.
var ErrRootGone = errors.New("the plugins root was removed where it is mounted from (restart the container or the service, for it to mount the directory that is there now)")

// directory is a plugin's own directory, locked while it is in use. The lock is on
// the directory itself, so that there is no lock file for a probe to stumble over
// or for a crash to leave behind, and the kernel drops it with the process.
type directory struct {
	path     string
	root     *os.Root // the directory, wherever it is by now
	file     *os.File // holds the lock
	made     bool     // by us, now
	tookOver bool     // from an earlier promscope that could not tidy up
}

// lockDirectory makes the directory if it is missing and locks it.
func lockDirectory(path string) (*directory, error) {
	// Between the making of a directory and its locking, an instance that is
	// about to end may remove it. That is one instance less each time round.
	const attempts = 16
	for range attempts {
		d, err := tryDirectory(path)
		if d != nil || err != nil {
			return d, err
		}
	}
	return nil, fmt.Errorf("%s keeps vanishing", path)
}

// tryDirectory returns neither a directory nor an error if the directory went
// before it was locked.
func tryDirectory(path string) (*directory, error) {
	// Other plugins, of other users perhaps, share the root.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingRoot(filepath.Dir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	d := &directory{path: path, made: err == nil}

	d.root, err = os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if d.file, err = d.root.Open("."); err != nil {
		return nil, errors.Join(err, d.root.Close())
	}
	if err := d.lock(); err != nil {
		return nil, errors.Join(err, d.unlock())
	}
	if !d.current() {
		return nil, d.unlock()
	}
	d.makePrivate()
	return d, nil
}

// makePrivate gives a directory the mode that it would have been made with, if there is
// nothing else in it than the plugin's socket. A script that installs promscope may have
// made it for all to enter. It leaves alone what a link leads to, and another user's.
func (d *directory) makePrivate() {
	info, err := os.Lstat(d.path)
	if err != nil || !info.IsDir() || info.Mode().Perm() == 0o700 {
		return
	}
	names, err := d.file.Readdirnames(-1)
	socket := filepath.Base(d.path) + ".sock"
	if err == nil && !slices.ContainsFunc(names, func(name string) bool { return name != socket }) {
		_ = d.file.Chmod(0o700)
	}
}

// missingRoot says why nothing can be made in a plugins root; nil if it went only
// now. A directory that is mounted here, and was removed where it comes from, is still
// there, but has no link, and nothing can be made in it.
func missingRoot(root string) error {
	if info, err := os.Stat(root); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink == 0 {
			return fmt.Errorf("%s: %w", root, ErrRootGone)
		}
	}
	return nil
}

func (d *directory) lock() error {
	err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return inUse(d.path)
	}
	if err != nil {
		return &fs.PathError{Op: "flock", Path: d.path, Err: err}
	}
	return nil
}

// current reports whether the locked directory still is the one at the path.
func (d *directory) current() bool {
	locked, err := d.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(d.path)
	return err == nil && os.SameFile(locked, there)
}

// release removes the directory if it is ours and empty, and unlocks it.
func (d *directory) release() {
	if (d.made || d.tookOver) && d.current() {
		// rmdir, unlike os.Remove, takes nothing but an empty directory. One
		// that is not empty, or a mount point, stays.
		_ = unix.Rmdir(d.path)
	}
	_ = d.unlock()
}

// unlock leaves the directory as it is.
func (d *directory) unlock() error {
	return errors.Join(d.file.Close(), d.root.Close())
}
