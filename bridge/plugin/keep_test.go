package plugin

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kept is a listener that is looked after, and accepts.
type kept struct {
	*Listener
	log  bytes.Buffer
	root string
	dir  string
}

func keep(t *testing.T) *kept {
	t.Helper()
	k := &kept{root: filepath.Join(t.TempDir(), "plugins")}
	k.dir = filepath.Join(k.root, "promscope")
	var err error
	if k.Listener, err = Listen(k.root, "promscope", slog.New(slog.NewTextHandler(&k.log, nil))); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := k.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("promscope"))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		<-ended
	})
	return k
}

// greeting returns what the listener at a path says; empty if there is none.
func greeting(path string) string {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 100)
	n, _ := conn.Read(answer)
	return string(answer[:n])
}

// lines are the lines of the log by level.
func (k *kept) lines(level string) int { return strings.Count(k.log.String(), "level="+level) }

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What goes is made again by the next look, with one line in the log.
func TestSocketIsMadeAgain(t *testing.T) {
	tests := []struct {
		name string
		take func(t *testing.T, k *kept)
	}{
		{"file removed", func(t *testing.T, k *kept) { must(t, os.Remove(k.Path())) }},
		{"directory removed", func(t *testing.T, k *kept) { must(t, os.RemoveAll(k.dir)) }},
		{"root removed", func(t *testing.T, k *kept) { must(t, os.RemoveAll(k.root)) }},
		{"root replaced", func(t *testing.T, k *kept) { must(t, os.RemoveAll(k.root), os.Mkdir(k.root, 0o755)) }},
		{"root renamed", func(t *testing.T, k *kept) { must(t, os.Rename(k.root, k.root+".old")) }},
		{"directory renamed", func(t *testing.T, k *kept) { must(t, os.Rename(k.dir, k.dir+"-old")) }},
		{"directory of another", func(t *testing.T, k *kept) { must(t, os.RemoveAll(k.dir), os.Mkdir(k.dir, 0o755)) }},
		{"a link to a directory", func(t *testing.T, k *kept) {
			must(t, os.RemoveAll(k.dir), os.Mkdir(k.root+"2", 0o755), os.Symlink(k.root+"2", k.dir))
		}},
		{"a stale socket", func(t *testing.T, k *kept) {
			must(t, os.Remove(k.Path()))
			leaveStale(t, k.Path())
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keep(t)
			for range 2 {
				must(t, k.Check())
			}
			if k.log.Len() > 0 {
				t.Errorf("nothing has happened, and the log says:\n%s", &k.log)
			}
			tt.take(t, k)
			if answer := greeting(k.Path()); answer != "" {
				t.Fatalf("the socket is there all the same, and says %q", answer)
			}
			for range 3 {
				must(t, k.Check(), k.Err())
				if answer := greeting(k.Path()); answer != "promscope" {
					t.Fatalf("after the look there is %q", answer)
				}
			}
			if k.lines("WARN") != 1 || strings.Count(k.log.String(), "\n") != 1 {
				t.Errorf("want one line in the log, have:\n%s", &k.log)
			}
			// No second socket is left for the probe to find.
			for _, old := range []string{k.dir + "-old", filepath.Join(k.root+".old", "promscope")} {
				if exists(t, filepath.Join(old, "promscope.sock")) {
					t.Errorf("%s has a socket that refuses", old)
				}
			}
			must(t, k.Close())
			if exists(t, k.Path()) {
				t.Error("the socket is there after the end")
			}
		})
	}
}

// A directory that another made is not taken away at the end, one of promscope's is.
func TestDirectoryThatWasMadeAgain(t *testing.T) {
	for name, foreign := range map[string]bool{"own": false, "of another": true} {
		t.Run(name, func(t *testing.T) {
			k := keep(t)
			must(t, os.RemoveAll(k.dir))
			if foreign {
				must(t, os.Mkdir(k.dir, 0o755))
			}
			must(t, k.Check())
			info, err := os.Stat(k.dir)
			must(t, err)
			if mode := info.Mode().Perm(); !foreign && mode != 0o700 {
				t.Errorf("the directory's mode is %o, want 700", mode)
			}
			must(t, k.Close())
			if exists(t, k.dir) != foreign {
				t.Errorf("after the end the directory is there: %v, want %v", !foreign, foreign)
			}
		})
	}
}

// What is in the way stays as it is, is told of once, and when it is gone, all is well.
func TestSocketIsBlocked(t *testing.T) {
	tests := []struct {
		name  string
		block func(t *testing.T, k *kept) (unblock func())
		want  string // in the error
	}{
		{"a file", func(t *testing.T, k *kept) func() {
			must(t, os.Remove(k.Path()), os.WriteFile(k.Path(), []byte("precious"), 0o600))
			return func() {
				if content, err := os.ReadFile(k.Path()); string(content) != "precious" {
					t.Errorf("the file is %q, %v", content, err)
				}
				must(t, os.Remove(k.Path()))
			}
		}, "promscope.sock is in the way"},
		{"a directory", func(t *testing.T, k *kept) func() {
			must(t, os.Remove(k.Path()), os.Mkdir(k.Path(), 0o700))
			return func() { must(t, os.Remove(k.Path())) }
		}, "promscope.sock is in the way"},
		{"a link to nothing", func(t *testing.T, k *kept) func() {
			must(t, os.Remove(k.Path()), os.Symlink("nothing", k.Path()))
			return func() { must(t, os.Remove(k.Path())) }
		}, "promscope.sock is in the way"},
		{"another socket", func(t *testing.T, k *kept) func() {
			must(t, os.Remove(k.Path()))
			other, err := net.Listen("unix", k.Path())
			must(t, err)
			return func() {
				// A look connects, which is how it knows that somebody listens.
				conn, err := net.Dial("unix", k.Path())
				if err != nil {
					t.Errorf("the other's socket is gone: %v", err)
				} else {
					conn.Close()
				}
				other.Close() // removes it
			}
		}, "another instance is running"},
		{"another promscope", func(t *testing.T, k *kept) func() {
			must(t, os.RemoveAll(k.dir))
			other, err := Listen(k.root, "promscope", discard())
			must(t, err)
			return func() {
				info, err := os.Lstat(k.Path())
				must(t, err)
				if !os.SameFile(info, other.current.Load().file) {
					t.Error("the other's socket was taken away")
				}
				other.Close()
			}
		}, "another instance is running"},
		{"a file for the directory", func(t *testing.T, k *kept) func() {
			must(t, os.RemoveAll(k.dir), os.WriteFile(k.dir, nil, 0o600))
			return func() { must(t, os.Remove(k.dir)) }
		}, "plugin directory"},
		{"a file for the root", func(t *testing.T, k *kept) func() {
			must(t, os.RemoveAll(k.root), os.WriteFile(k.root, nil, 0o600))
			return func() { must(t, os.Remove(k.root)) }
		}, "plugin directory"},
		{"links in a circle", func(t *testing.T, k *kept) func() {
			must(t, os.RemoveAll(k.dir), os.Symlink(k.dir, k.dir))
			return func() { must(t, os.Remove(k.dir)) }
		}, "plugin directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keep(t)
			unblock := tt.block(t, k)
			for range 3 {
				if err := k.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("err = %v, want one with %q", err, tt.want)
				}
			}
			if err := k.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Err() = %v", err)
			}
			if k.lines("ERROR") != 1 || strings.Count(k.log.String(), "\n") != 1 {
				t.Errorf("want one line in the log, have:\n%s", &k.log)
			}
			unblock()
			must(t, k.Check(), k.Err())
			if answer := greeting(k.Path()); answer != "promscope" {
				t.Errorf("after the look there is %q", answer)
			}
			if k.lines("INFO") != 1 || strings.Count(k.log.String(), "\n") != 2 {
				t.Errorf("want a second line in the log, have:\n%s", &k.log)
			}
		})
	}
}

// What is hidden for a while comes back as it was.
func TestSocketComesBack(t *testing.T) {
	k := keep(t)
	must(t, os.Rename(k.dir, k.dir+"-hidden"), os.WriteFile(k.dir, nil, 0o600))
	if err := k.Check(); err == nil {
		t.Fatal("a file is in the directory's place")
	}
	must(t, os.Remove(k.dir), os.Rename(k.dir+"-hidden", k.dir))
	before := k.current.Load()
	must(t, k.Check())
	if answer := greeting(k.Path()); answer != "promscope" || k.current.Load() != before {
		t.Errorf("the socket says %q, and is another: %v", answer, k.current.Load() != before)
	}
}

// Making it again and again leaves no descriptor behind.
func TestRemakingLeaksNothing(t *testing.T) {
	k := keep(t)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	var first int
	for i := range 50 {
		must(t, os.RemoveAll(k.dir), k.Check())
		must(t, os.Remove(k.Path()), k.Check())
		if i == 0 {
			first = descriptors()
		}
	}
	if last := descriptors(); last > first+2 {
		t.Errorf("%d descriptors after the first time, %d after the 50th", first, last)
	}
}

// Close and Check may come together.
func TestCheckWhileClosing(t *testing.T) {
	for range 50 {
		l, err := Listen(t.TempDir(), "promscope", discard())
		must(t, err)
		done := make(chan error)
		go func() {
			err := os.Remove(l.Path())
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			done <- errors.Join(err, l.Check())
		}()
		must(t, l.Close(), <-done)
		must(t, l.Check())
		if exists(t, filepath.Dir(l.Path())) {
			t.Fatal("the directory is there after the end")
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	l, err := Listen(b.TempDir(), "promscope", discard())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		if err := l.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
