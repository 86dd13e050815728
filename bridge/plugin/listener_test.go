package plugin

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mustListen(t *testing.T, root, id string) *Listener {
	t.Helper()
	l, err := Listen(root, id, discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// leaveStale leaves a socket file that nobody listens on.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestListenAndClose(t *testing.T) {
	root := filepath.Join(t.TempDir(), "scope", "plugins")
	l := mustListen(t, root, "promscope")

	path := filepath.Join(root, "promscope", "promscope.sock")
	if l.Path() != path {
		t.Errorf("path = %s, want %s", l.Path(), path)
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if got := dir.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory's mode is %o, want 700", got)
	}
	socket, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if socket.Mode().Type() != fs.ModeSocket || socket.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", socket.Mode())
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(t, filepath.Dir(path)) {
		t.Error("the directory is still there")
	}
	if !exists(t, root) {
		t.Error("the root is gone; a probe that starts now would run without plugins for good")
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// A directory that was made for all to enter is for promscope alone, unless others use it.
func TestListenMakesDirectoryPrivate(t *testing.T) {
	for name, test := range map[string]struct {
		file string // in the directory
		link bool   // the path is one that leads to it
		want fs.FileMode
	}{
		"empty":                 {want: 0o700},
		"somebody's file":       {file: "README", want: 0o755},
		"a link leads to it":    {link: true, want: 0o755},
		"another plugin's file": {file: "iowait.sock", want: 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "promscope")
			if test.link {
				if err := os.Symlink(filepath.Join(root, "elsewhere"), dir); err != nil {
					t.Fatal(err)
				}
				dir = filepath.Join(root, "elsewhere")
			}
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(dir, test.file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l, err := Listen(root, "promscope", discard())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != test.want {
				t.Errorf("mode %o, want %o", got, test.want)
			}
		})
	}
}

func TestListenTakesOverStaleSocket(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "promscope", "promscope.sock")
	leaveStale(t, path)

	l := mustListen(t, root, "promscope")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	if exists(t, filepath.Dir(path)) {
		t.Error("the directory of the instance before is still there")
	}
}

func TestListenRefusesLiveSocket(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "promscope", "promscope.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	_, err = Listen(root, "promscope", discard())
	if !errors.Is(err, errInUse) {
		t.Fatalf("err = %v, want errInUse", err)
	}
	if !strings.Contains(err.Error(), "--scope.plugin-id") {
		t.Errorf("the error names no remedy: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other's socket no longer works: %v", err)
	} else {
		conn.Close()
	}
}

func TestListenRefusesSecondInstance(t *testing.T) {
	root := t.TempDir()
	first := mustListen(t, root, "promscope")
	if _, err := Listen(root, "promscope", discard()); !errors.Is(err, errInUse) {
		t.Fatalf("err = %v, want errInUse", err)
	}
	if conn, err := net.Dial("unix", first.Path()); err != nil {
		t.Errorf("the first one's socket no longer works: %v", err)
	} else {
		conn.Close()
	}
	mustListen(t, root, "promscope-2")
	first.Close()
	mustListen(t, root, "promscope")
}

// TestListenRace starts many at once over a stale socket: exactly one gets it, and
// its socket stays.
func TestListenRace(t *testing.T) {
	for range 30 {
		root := t.TempDir()
		path := filepath.Join(root, "promscope", "promscope.sock")
		leaveStale(t, path)

		const starts = 8
		listeners := make([]*Listener, starts)
		errs := make([]error, starts)
		var wg sync.WaitGroup
		for i := range starts {
			wg.Go(func() { listeners[i], errs[i] = Listen(root, "promscope", discard()) })
		}
		wg.Wait()

		var winner *Listener
		for i, l := range listeners {
			switch {
			case l != nil && winner != nil:
				t.Fatal("two instances listen")
			case l != nil:
				winner = l
			case !errors.Is(errs[i], errInUse):
				t.Fatalf("err = %v, want errInUse", errs[i])
			}
		}
		if winner == nil {
			t.Fatal("no instance listens")
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Fatalf("the winner's socket does not work: %v", err)
		} else {
			conn.Close()
		}
		winner.Close()
		if exists(t, filepath.Dir(path)) {
			t.Fatal("the directory is still there")
		}
	}
}

// TestListenAgainAndAgain starts and ends instances at the same place all the time,
// so that directories vanish between their making and their locking.
func TestListenAgainAndAgain(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				l, err := Listen(root, "promscope", discard())
				if errors.Is(err, errInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if conn, err := net.Dial("unix", l.Path()); err != nil {
					t.Errorf("the socket does not work: %v", err)
				} else {
					conn.Close()
				}
				l.Close()
			}
		})
	}
	wg.Wait()
}

// TestLockedDirectoryIsReplaced is what happens to a start that has opened the
// directory of an instance which ends: the lock is on nothing that anyone sees.
func TestLockedDirectoryIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "promscope")
	d, err := lockDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	if !d.current() {
		t.Error("the directory is not at its path")
	}
	for _, step := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if d.current() {
			t.Error("the directory that was removed passes for the one at its path")
		}
	}
}

func TestListenDeletesNothingForeign(t *testing.T) {
	t.Run("file in the socket's place", func(t *testing.T) {
		root := t.TempDir()
		path := filepath.Join(root, "promscope", "promscope.sock")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(root, "promscope", discard()); err == nil {
			t.Fatal("listens in the place of a file")
		}
		if content, err := os.ReadFile(path); err != nil || string(content) != "precious" {
			t.Errorf("the file is %q, %v", content, err)
		}
	})
	t.Run("directory made by others", func(t *testing.T) {
		root := t.TempDir()
		dir := filepath.Join(root, "promscope")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mustListen(t, root, "promscope").Close()
		if !exists(t, dir) {
			t.Error("the directory is gone")
		}
	})
	t.Run("file beside the socket", func(t *testing.T) {
		root := t.TempDir()
		l := mustListen(t, root, "promscope")
		note := filepath.Join(filepath.Dir(l.Path()), "note")
		if err := os.WriteFile(note, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if !exists(t, note) {
			t.Error("the file is gone")
		}
		if exists(t, l.Path()) {
			t.Error("the socket is still there")
		}
	})
	t.Run("socket replaced meanwhile", func(t *testing.T) {
		l := mustListen(t, t.TempDir(), "promscope")
		if err := os.Remove(l.Path()); err != nil {
			t.Fatal(err)
		}
		other, err := net.Listen("unix", l.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		l.Close()
		if !exists(t, l.Path()) {
			t.Error("the other's socket is gone")
		}
	})
	t.Run("socket of another kind", func(t *testing.T) {
		root := t.TempDir()
		path := filepath.Join(root, "promscope", "promscope.sock")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := Listen(root, "promscope", discard()); err == nil {
			t.Error("listens in the place of a datagram socket")
		}
		if !exists(t, path) {
			t.Error("the other's socket is gone")
		}
	})
}

func TestListenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, root, id string
		want           []string
	}{
		{"underscore", t.TempDir(), "prom_scope", []string{`plugin id "prom_scope"`}},
		{"dot", t.TempDir(), "prom.scope", []string{`plugin id "prom.scope"`}},
		{"slash", t.TempDir(), "../promscope", []string{`plugin id "../promscope"`}},
		{"no id", t.TempDir(), "", []string{`plugin id ""`}},
		{"long path", filepath.Join(t.TempDir(), strings.Repeat("x", 100)), "promscope",
			[]string{"the path has", "may have 107", "--scope.plugins-root"}},
		{"root is a file", file, "promscope", []string{"plugin directory", file}},
		{"no right to write", "/proc", "promscope", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Listen(tt.root, tt.id, discard())
			if err == nil {
				l.Close()
				t.Fatal("listens")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in the error: %v", part, err)
				}
			}
		})
	}
}

func TestRemedy(t *testing.T) {
	for _, cause := range []error{unix.EACCES, unix.EPERM, unix.EROFS} {
		err := withRemedy(&fs.PathError{Op: "mkdir", Path: "/var/run/scope/plugins", Err: cause})
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "--scope.plugins-root") {
			t.Errorf("%v names no remedy: %v", cause, err)
		}
	}
	if err := withRemedy(unix.ENOSPC); strings.Contains(err.Error(), "--scope") {
		t.Errorf("a full disk is remedied by a flag: %v", err)
	}
}

// TestListenWithoutRights listens below a directory that may not be written to. To
// root, which may write anywhere, an immutable filesystem stands in.
func TestListenWithoutRights(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		root = "/sys/kernel"
		if err := unix.Access(root, unix.W_OK); err == nil {
			probe := filepath.Join(root, "promscope-test")
			if err := os.Mkdir(probe, 0o700); err == nil {
				os.Remove(probe)
				t.Skip("root may write to " + root)
			}
		}
	}
	_, err := Listen(root, "promscope", discard())
	if err == nil || !strings.Contains(err.Error(), "--scope.plugins-root") {
		t.Errorf("err = %v, want one that names --scope.plugins-root", err)
	}
}

// TestCloseIsQuick closes while connections are open and being made.
func TestCloseIsQuick(t *testing.T) {
	l := mustListen(t, t.TempDir(), "promscope")
	conn, err := net.Dial("unix", l.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	l.Close()
	if elapsed := time.Since(start); elapsed > 100*time.Millisecond {
		t.Errorf("closing took %v", elapsed)
	}
}
