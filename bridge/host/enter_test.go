package host

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A thread that may not look into other users' processes enters its own namespace only,
// whatever else it may.
func TestCanEnterNamespaces(t *testing.T) {
	m := realMachine(t)
	if err := m.CanEnterNamespaces(); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if err := m.CanEnterNamespaces(); !errors.Is(err, ErrNotPermitted) {
		t.Error(err)
	}
}

// Without the right to enter namespaces the error says so, and ours still works.
func TestEnterError(t *testing.T) {
	err := enterError(1, networkNamespace, syscall.EPERM)
	if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Error(err)
	}
	if err := enterError(1, networkNamespace, syscall.ENOENT); !errors.Is(err, ErrNoProcess) {
		t.Error(err)
	}
	if err := enterError(1, utsNamespace, io.ErrUnexpectedEOF); !strings.Contains(fmt.Sprint(err), "uts namespace of process 1") {
		t.Error(err)
	}
}
