package pressure

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/mapping/cgroup"
)

// found is the cgroup of a container or a pod.
type found struct {
	path      string // below the root of the hierarchy
	container string
	pod       string
}

// cgroupRoot returns where the hierarchy of version 2 is mounted, "" if it is nowhere.
func cgroupRoot() string {
	mounts, err := procfs.GetMounts()
	if err != nil {
		return ""
	}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			return m.MountPoint
		}
	}
	return ""
}

// findCgroups returns the cgroups of the containers and pods below a root. What is within
// a container belongs to it. What is in a directory that promscope may not read is not
// found.
func findCgroups(root string) ([]found, error) {
	var all []found
	err := walk(root, "/", cgroup.Cgroup{}, func(c found) { all = append(all, c) })
	return all, err
}

// walk calls each with the cgroups of containers and pods below a directory. Of a
// directory without directories it reads nothing: its links are two. Without that it
// takes eight times as long, for each cgroup has 20 files and more.
func walk(root, dir string, of cgroup.Cgroup, each func(found)) error {
	entries, err := os.ReadDir(root + dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && dir != "/" {
			return nil // it ended meanwhile, or is another user's
		}
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		at := path.Join(dir, e.Name())
		c := cgroup.Parse(at)
		if c.Container != "" {
			each(found{at, c.Container, c.Pod})
			continue
		}
		if c.Pod != "" && of.Pod == "" {
			each(found{at, "", c.Pod})
		}
		var stat syscall.Stat_t
		if syscall.Lstat(root+at, &stat) != nil || stat.Nlink == 2 {
			continue
		}
		if err := walk(root, at, c, each); err != nil {
			return err
		}
	}
	return nil
}
