package http

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnseenBody has 2 GiB of a body pass that no program sees, of a response and of a request: the sequence numbers of what
// follows are then less than those before. What follows counts as ever.
func TestUnseenBody(t *testing.T) {
	const (
		size = 1<<31 + 1<<20
		part = 1 << 24
	)
	file, err := os.Create(filepath.Join(t.TempDir(), "body"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(part); err != nil {
		t.Fatal(err)
	}
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	write := func(t *testing.T, fd int, text string) {
		t.Helper()
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, part)
	read := func(t *testing.T, fd int) {
		t.Helper()
		if _, err := unix.Read(fd, buffer); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(t *testing.T, near, far int) {
		t.Helper()
		write(t, near, get)
		read(t, far)
		write(t, far, ok)
		read(t, near)
	}
	// send has the body pass, and returns when it is through.
	send := func(t *testing.T, from int, discard func() (int64, error)) {
		t.Helper()
		sent := make(chan error, 1)
		go func() {
			for left := size; left > 0; {
				offset := int64(0)
				n, err := unix.Sendfile(from, int(file.Fd()), &offset, min(left, part))
				if err != nil {
					sent <- err
					return
				}
				left -= n
			}
			sent <- nil
		}()
		for left := int64(size); left > 0; {
			n, err := discard()
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			left -= n
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		for _, tt := range []struct {
			name string
			pass func(t *testing.T, near, far int)
		}{
			{"response", func(t *testing.T, near, far int) {
				write(t, near, get)
				read(t, far)
				write(t, far, "HTTP/1.1 200 OK\r\n"+length)
				if n, err := unix.Read(near, buffer); err != nil || n != len("HTTP/1.1 200 OK\r\n"+length) {
					t.Fatal(n, err)
				}
				send(t, far, func() (int64, error) {
					n, _, err := unix.Recvfrom(near, buffer, unix.MSG_TRUNC) // which copies nothing
					return int64(n), err
				})
			}},
			{"request", func(t *testing.T, near, far int) {
				write(t, near, "PUT / HTTP/1.1\r\n"+length)
				read(t, far)
				var pipe [2]int
				if err := unix.Pipe(pipe[:]); err != nil {
					t.Fatal(err)
				}
				defer unix.Close(pipe[0])
				defer unix.Close(pipe[1])
				null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer null.Close()
				send(t, near, func() (int64, error) {
					n, err := unix.Splice(far, nil, pipe[1], nil, part, 0)
					if err != nil {
						return 0, err
					}
					return unix.Splice(pipe[0], nil, int(null.Fd()), nil, int(n), 0)
				})
				write(t, far, ok)
				read(t, near)
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := newCollector(t, Options{hookSet: hookSet})
				near, far := socketPair(t)
				exchange(t, near, far)
				tt.pass(t, near, far)
				for range 3 {
					exchange(t, near, far)
				}
				if got := gather(t, c, servers)[os.Getpid()]; got.Requests != 5 || got.Unasked != 0 || got.InFlight != 0 {
					t.Errorf("%d requests, %d responses unasked, %d in flight; want 5, 0 and 0", got.Requests, got.Unasked, got.InFlight)
				}
			})
		}
	})
}
