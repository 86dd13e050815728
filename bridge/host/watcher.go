package host

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// errTooMany is returned by Watch when all file descriptors of a watcher are
// taken.
var errTooMany = errors.New("too many processes watched")

// watcher notices the exit of processes by their pidfds (Linux 5.3): one file
// descriptor a process, and no work until one exits. It is safe for concurrent
// use.
type watcher struct {
	epoll  *os.File // of the pidfds; itself in the poller of the runtime, so that waiting holds no thread
	conn   syscall.RawConn
	max    int
	onExit func(pid int)
	done   chan struct{}

	mu      sync.Mutex
	watches map[int32]*watch // by id
	last    int32            // id given out last
	closed  bool
}

// watch is the watch of one process.
type watch struct {
	watcher *watcher
	pid     int
	fd      int
	id      int32 // what events carry: a file descriptor's number may be another's by the time they are looked at
	exited  atomic.Bool
}

// newWatcher returns a watcher of at most limit processes at a time. onExit, if
// not nil, is called with the pid of each that exits, from one goroutine. The
// error is ENOSYS or EPERM where pidfds do not exist or may not be used.
func newWatcher(limit int, onExit func(pid int)) (*watcher, error) {
	probe, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("opening pidfd: %w", err)
	}
	defer unix.Close(probe)

	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	// os.NewFile hands only non-blocking files to the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	w := &watcher{
		epoll:   os.NewFile(uintptr(fd), "epoll"),
		max:     limit,
		onExit:  onExit,
		done:    make(chan struct{}),
		watches: map[int32]*watch{},
	}
	if w.conn, err = w.epoll.SyscallConn(); err != nil {
		w.epoll.Close()
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	go w.run()
	return w, nil
}

// Watch begins to watch the process that has that pid now. The pid is one of
// our own pid namespace, and of a process, not of one of its further threads.
// The watch has to be closed, also after the process exited.
func (w *watcher) Watch(pid int) (*watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, os.ErrClosed
	case len(w.watches) >= w.max:
		return nil, errTooMany
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("opening pidfd of process %d: %w", pid, err)
	}
	w.last++
	watch := &watch{watcher: w, pid: pid, fd: fd, id: w.last}
	// Once: an exited process stays readable for ever.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: watch.id}
	if err := w.control(unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watching process %d: %w", pid, err)
	}
	w.watches[watch.id] = watch
	return watch, nil
}

// Exited reports whether the process has exited, be it reaped or not.
func (w *watch) Exited() bool {
	if w.exited.Load() {
		return true
	}
	// The event may still be under way.
	w.watcher.mu.Lock()
	defer w.watcher.mu.Unlock()
	if w.watcher.watches[w.id] != w {
		return w.exited.Load()
	}
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// Close ends the watch and frees its file descriptor.
func (w *watch) Close() {
	w.watcher.mu.Lock()
	defer w.watcher.mu.Unlock()
	if w.watcher.watches[w.id] != w {
		return
	}
	delete(w.watcher.watches, w.id)
	unix.Close(w.fd) // which takes it out of the epoll
}

// Close ends all watches; onExit is not called any more when it returns.
func (w *watcher) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	for _, watch := range w.watches {
		unix.Close(watch.fd)
	}
	clear(w.watches)
	w.mu.Unlock()

	err := w.epoll.Close()
	<-w.done
	return err
}

// run waits for exits until the watcher is closed.
func (w *watcher) run() {
	defer close(w.done)
	for {
		exited, err := w.wait()
		if err != nil {
			return
		}
		for _, watch := range exited {
			watch.exited.Store(true)
			if w.onExit != nil {
				w.onExit(watch.pid)
			}
		}
	}
}

// wait returns the watches whose processes exited; the error says that the
// watcher was closed.
func (w *watcher) wait() (exited []*watch, err error) {
	var events [64]unix.EpollEvent
	n := 0
	readErr := w.conn.Read(func(fd uintptr) bool {
		n, err = unix.EpollWait(int(fd), events[:], 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if err = errors.Join(readErr, err); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, event := range events[:n] {
		if watch := w.watches[event.Fd]; watch != nil {
			exited = append(exited, watch)
		}
	}
	return exited, nil
}

// control changes the epoll. It goes through the file, so that it can never
// meet a descriptor number that was closed and used again.
func (w *watcher) control(op, fd int, event *unix.EpollEvent) error {
	var err error
	if controlErr := w.conn.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), op, fd, event)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
