package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// memoryCgroup makes a cgroup with a memory limit, of version 1 or 2.
func memoryCgroup(t *testing.T, bytes int64) string {
	t.Helper()
	for _, v := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir, err := os.MkdirTemp(v.root, "promscope-test-") //nolint:usetesting // a cgroup is no ordinary directory
		if err != nil {
			continue
		}
		t.Cleanup(func() { removeCgroups(t, dir) })
		if err := os.WriteFile(filepath.Join(dir, v.limit), []byte(strconv.FormatInt(bytes, 10)), 0); err == nil {
			return dir
		}
	}
	unmet(t, "needs to make cgroups with a memory limit")
	return ""
}

// Go collects garbage before the memory of promscope's cgroup is used up.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const limit = 200 << 20
	cgroup := memoryCgroup(t, limit)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	p := &plugin{socket: filepath.Join(root, "promscope", "promscope.sock"), web: freeAddress(t)}
	cmd := exec.Command("/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, cgroup, path, "--scope.plugins-root="+root,
		"--scope.host="+hostName, "--web.listen-address="+p.web, "--config.file="+writeConfig(t, nothingToScrape))
	p.process, p.web = startCommand(t, cmd), "http://"+p.web
	p.awaitSocket(t, 20*time.Second)
	if got := p.gauge(t, "go_gc_gomemlimit_bytes"); got != 0.9*limit {
		t.Errorf("Go's memory limit is %v, want %v", got, 0.9*limit)
	}
}
