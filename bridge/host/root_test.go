package host

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// A link in a process's file system leads to a file of that file system, or nowhere.
func TestOpenInRoot(t *testing.T) {
	tree := hosttest.New(t)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "web"})
	m, err := New(Options{ProcRoot: tree.Root})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	root, outside := m.Path(100, "root"), t.TempDir()
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(outside+"/secret", "of the host")
	write(root+"/run/file", "of the process")
	write(root+outside+"/inside", "below the same name")
	for name, target := range map[string]string{
		"absolute": "/run/file", "relative": "run/file", "escapes": outside + "/secret", "climbs": "../../../../../.." + outside + "/secret",
		"stays": outside + "/inside", "directory": outside,
	} {
		if err := os.Symlink(target, root+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	const gone = "" // there is no such file below the root
	for _, tc := range []struct{ path, want, without string }{
		{"/run/file", "of the process", "of the process"},
		{"/relative", "of the process", "of the process"},
		{"/absolute", "of the process", gone},
		{"/stays", "below the same name", gone},
		{"/directory/inside", "below the same name", gone},
		{"/escapes", gone, gone},
		{"/climbs", gone, gone},
		{"/directory/secret", gone, gone},
		{"/../../../.." + outside + "/secret", gone, gone},
	} {
		for _, open := range []struct {
			name string
			want string
			open func(root, path string, flags int) (*os.File, error)
		}{{"openat2", tc.want, openInRoot}, {"without openat2", tc.without, openBelow}} {
			f, err := open.open(root, tc.path, unix.O_RDONLY)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(f)
				f.Close()
			}
			if string(got) != open.want || (err == nil) != (open.want != gone) {
				t.Errorf("%s, %s: %q, %v; want %q", open.name, tc.path, got, err, open.want)
			}
		}
	}
	if _, err := m.OpenInRoot(4711, "/run/file", unix.O_RDONLY); err == nil {
		t.Error("a file of no process was opened")
	}
}

func TestSplitRoot(t *testing.T) {
	m := &Machine{root: "/host/proc"}
	for path, want := range map[string]struct {
		pid    int
		inside string
	}{
		"/host/proc/12/root/run/x.sock": {12, "/run/x.sock"},
		"/host/proc/12/root":            {},
		"/host/proc/12/cwd/x.sock":      {},
		"/host/proc/self/root/x.sock":   {},
		"/proc/12/root/x.sock":          {},
		"/run/x.sock":                   {},
	} {
		pid, inside, ok := m.SplitRoot(path)
		if pid != want.pid || inside != want.inside || ok != (want.pid != 0) {
			t.Errorf("%s: %d %q %v, want %+v", path, pid, inside, ok, want)
		}
	}
}
