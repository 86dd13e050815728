package host

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
)

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
