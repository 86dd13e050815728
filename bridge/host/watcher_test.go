package host

import (
	"errors"
	"os"
	"sync"
	"testing"
)

func newTestWatcher(t *testing.T, limit int, onExit func(int)) *watcher {
	t.Helper()
	w, err := newWatcher(limit, onExit)
	if err != nil {
		t.Skipf("needs pidfds: %v", err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func TestWatcherExit(t *testing.T) {
	var mu sync.Mutex
	var exits []int
	w := newTestWatcher(t, 10, func(pid int) {
		mu.Lock()
		defer mu.Unlock()
		exits = append(exits, pid)
	})
	short, long := startHelper(t, "sleep", 0), startHelper(t, "sleep", 0)
	watchShort, err := w.Watch(short.pid)
	if err != nil {
		t.Fatal(err)
	}
	watchLong, err := w.Watch(long.pid)
	if err != nil {
		t.Fatal(err)
	}
	if watchShort.Exited() || watchLong.Exited() {
		t.Error("exited before it did")
	}
	short.stop()
	if !watchShort.Exited() {
		t.Error("not exited right after it did")
	}
	if watchLong.Exited() {
		t.Error("the other one exited, too")
	}
	eventually(t, "the callback", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(exits) > 0
	})
	watchShort.Close()
	watchShort.Close() // twice is once
	if !watchShort.Exited() {
		t.Error("alive again after the watch was closed")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(exits) != 1 || exits[0] != short.pid {
		t.Errorf("callbacks for %v, want one for %d", exits, short.pid)
	}
}

func TestWatcherLimit(t *testing.T) {
	w := newTestWatcher(t, 1, nil)
	watch, err := w.Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Watch(os.Getppid()); !errors.Is(err, errTooMany) {
		t.Errorf("beyond the limit: %v", err)
	}
	watch.Close()
	if _, err := w.Watch(os.Getppid()); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

func TestWatcherErrors(t *testing.T) {
	w := newTestWatcher(t, 1, nil)
	h := startHelper(t, "sleep", 0)
	h.stop()
	if _, err := w.Watch(h.pid); err == nil {
		t.Error("watching a process that has gone is no error")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := w.Watch(os.Getpid()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Watches come and go while their processes end; no file descriptor is left.
func TestWatcherLeaksNothing(t *testing.T) {
	before := openFiles(t)
	w := newTestWatcher(t, 100, func(int) {})
	for range 5 {
		h := startHelper(t, "sleep", 0)
		watch, err := w.Watch(h.pid)
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() {
			h.stop()
			close(stopped)
		}()
		eventually(t, "exit", watch.Exited)
		watch.Close()
		<-stopped
	}
	if _, err := w.Watch(os.Getpid()); err != nil { // left open
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
