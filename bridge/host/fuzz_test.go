package host

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/mapping/cgroup"
)

// What the parser here and the one of procfs both take for a stat file they read alike.
func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Skip(err)
	}
	f.Add(own)
	f.Add([]byte("100 (a) (b\n) S 7 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 3 0 4200 1000 10 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"))
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "1"), 0o700); err != nil {
		f.Fatal(err)
	}
	fs, err := procfs.NewFS(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, state, threads, err := parseStat(b)
		if err != nil {
			return
		}
		if !bytes.Contains(b, []byte("("+p.Comm+")")) {
			t.Fatalf("the name is %q", p.Comm)
		}
		_, rest, _ := bytes.Cut(b, []byte(p.Comm+")"))
		fields := bytes.Join(bytes.Fields(rest), []byte(" "))
		if !bytes.Equal(bytes.TrimSuffix(rest, []byte("\n")), append([]byte(" "), fields...)) {
			return // the kernel has a single space between fields, and a newline at the end alone
		}
		if leadingZero.Match(fields) {
			return // which the kernel does not write, and fmt takes for an octal number
		}
		if err := os.WriteFile(filepath.Join(root, "1", "stat"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		proc, err := fs.Proc(1)
		if err != nil {
			t.Fatal(err)
		}
		want, err := proc.Stat()
		if err != nil {
			return
		}
		if p.Comm != want.Comm || p.PPID != want.PPID || p.StartTicks != want.Starttime || string(state) != want.State || threads != want.NumThreads {
			t.Errorf("%+v %c %d, procfs says %+v", p, state, threads, want)
		}
	})
}

// leadingZero finds a number that begins with a zero and has more digits.
var leadingZero = regexp.MustCompile(`(^| )[+-]?0[0-9a-zA-Z_]`)

// The container and the pod are the first that a line names, whatever lies between.
func FuzzCgroups(f *testing.F) {
	id := strings.Repeat("1234abcd", 8)
	f.Add([]byte("12:cpu,cpuacct:/docker/" + id + "\n0::/\n"))
	f.Add([]byte("0::/kubepods.slice/kubepods-pod0b21f5f0_6d1b_4d5e_9f3c_0a2b5e0e9d11.slice/cri-containerd-" + id + ".scope\n"))
	f.Add([]byte("1:name=systemd:/user.slice/user@1000.service\n0::/../../docker-" + id + ".scope/x"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var wantContainer, wantPod string
		for line := range strings.SplitSeq(string(content), "\n") {
			if _, path, found := strings.Cut(line, "/"); found {
				c := cgroup.Parse("/" + path)
				wantContainer, wantPod = cmp.Or(wantContainer, c.Container), cmp.Or(wantPod, c.Pod)
			}
		}
		for _, same := range []string{string(content), "0::/\n" + string(content), string(content) + "\n0::/"} {
			if container, pod := parseCgroups([]byte(same)); container != wantContainer || pod != wantPod {
				t.Errorf("%q: %q and %q, want %q and %q", same, container, pod, wantContainer, wantPod)
			}
		}
	})
}

// A link is what the kernel writes (ns_get_name in fs/nsfs.c, sockfs_dname in
// net/socket.c), and nothing else.
func FuzzLink(f *testing.F) {
	f.Add("socket:[12345]", "socket")
	f.Add("net:[4026531840]", "net")
	f.Add("/tmp/net:[1]", "net")
	f.Add("net:[18446744073709551616]", "net")
	f.Fuzz(func(t *testing.T, target, kind string) {
		inode, ok := parseLink([]byte(target), kind)
		rest, of := strings.CutPrefix(target, kind+":[")
		digits, closed := strings.CutSuffix(rest, "]")
		number, err := strconv.ParseUint(digits, 10, 64)
		if want := of && closed && err == nil; ok != want || ok && inode != number {
			t.Errorf("%q of %q: %d, %v", target, kind, inode, ok)
		}
	})
}

// An uptime is as long as it says, to the hundredth of a second that the kernel gives.
func FuzzUptime(f *testing.F) {
	f.Add("350735.47 234388.90\n")
	f.Add("0.00 0.00\n")
	f.Add("NaN 1")
	f.Add("1e300 1")
	f.Fuzz(func(t *testing.T, content string) {
		up, err := parseUptime([]byte(content))
		m := regexp.MustCompile(`^([0-9]{1,9})\.([0-9]{2}) `).FindStringSubmatch(content)
		if m == nil {
			return
		}
		if got := fmt.Sprintf("%d.%02d", up/time.Second, up%time.Second/tick); err != nil || got != cmp.Or(strings.TrimLeft(m[1], "0"), "0")+"."+m[2] {
			t.Errorf("%q: %s, %v", content, up, err)
		}
	})
}
