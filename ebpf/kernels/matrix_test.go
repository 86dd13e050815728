package kernels

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	cache  = flag.String("cache", "", "boot the kernels in this directory, to which those that it lacks are fetched")
	update = flag.Bool("update", false, "write the tables of the documentation")
)

// Which tests run in a guest: these functions, of every package under ebpf/ that has some of
// them. Each of a collector's has a subtest for every hook set that it is about, by its name.
const (
	everywhere = `^(TestHookSets|TestBeside)$`
	preempted  = `^TestPaced$`
	manyCPUs   = `^TestMemory$`
)

// An emulated CPU is slow: fewer requests, and more patience.
const (
	few  = "PROMSCOPE_TEST_SCALE=0.03"
	some = "PROMSCOPE_TEST_SCALE=0.1"
)

// guest is one boot of a kernel.
type guest struct {
	kernel string // a series of Debian's kernels and its architecture
	cpus   string // for QEMU's -smp; two when empty
	runs   []run
}

// run is what a guest runs of the tests, one after the other.
type run struct {
	tests       string
	environment string
	preempt     string // the mode of preemption, which a kernel with PREEMPT_DYNAMIC can change; empty means its own
}

func guests() []guest {
	usual := run{tests: everywhere, environment: few}
	full := run{tests: preempted, environment: some, preempt: "full"}
	memory := run{tests: manyCPUs, environment: few + " PROMSCOPE_REQUIRE_CPUS=128"}
	// Up to 6.1 the CPUs that QEMU could add are possible ones.
	const cpus = "2,maxcpus=128"
	return []guest{
		{kernel: "5.10-amd64", cpus: cpus, runs: []run{usual, memory}},
		{kernel: "6.1-amd64", cpus: cpus, runs: []run{usual, memory}},
		{kernel: "6.12-amd64", runs: []run{usual, full}},
		{kernel: "6.16-amd64", runs: []run{usual}},
		{kernel: "6.18-amd64", runs: []run{usual}},
		{kernel: "7-amd64", runs: []run{usual, full}},
		{kernel: "6.1-arm64", runs: []run{usual}},
		{kernel: "6.12-arm64", runs: []run{usual}},
		{kernel: "6.16-arm64", runs: []run{usual}},
	}
}

// architecture of the guest, by Go's name.
func (g guest) architecture() string { return g.kernel[strings.IndexByte(g.kernel, '-')+1:] }

// name tells a run in a guest from the others, for people.
func (g guest) name(r run) string {
	name := strings.Replace(g.kernel, "-", " ", 1)
	if r.preempt != "" {
		name += " preempt=" + r.preempt
	}
	return name
}

// TestMatrix boots every guest, as many at a time as -test.parallel says, and compares what the
// tests in them say with the tables of the documentation.
func TestMatrix(t *testing.T) {
	if *cache == "" {
		t.Skip("make kernels boots kernels in virtual machines")
	}
	for _, tool := range []string{"apt-get", "dpkg", "xz", "busybox", "qemu-system-x86_64", "qemu-system-aarch64"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("PROMSCOPE_REQUIRE_QEMU") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}

	rows := make([][]row, len(guests()))
	t.Cleanup(func() { // when all guests have stopped
		complete := !slices.ContainsFunc(rows, func(r []row) bool { return r == nil })
		checkDocs(t, slices.Concat(rows...), complete)
	})
	builds := map[string][]string{}
	for i, g := range guests() {
		t.Run(strings.Replace(g.kernel, "-", " ", 1), func(t *testing.T) {
			if _, err := tryCommand(t, nil, "./fetch", *cache, g.kernel); err != nil {
				t.Skip("the kernel is not to be had: ", err) // Debian's archive moves on
			}
			if builds[g.architecture()] == nil {
				builds[g.architecture()] = build(t, g.architecture())
			}
			files := builds[g.architecture()]
			t.Parallel()
			rows[i] = boot(t, g, files)
		})
	}
}

// command runs a program and returns what it wrote to its standard output.
func command(t *testing.T, environment []string, name string, arguments ...string) string {
	t.Helper()
	out, err := tryCommand(t, environment, name, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryCommand is command for a program that may fail.
func tryCommand(t *testing.T, environment []string, name string, arguments ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arguments...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), environment...), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, stderr.String())
	}
	return stdout.String(), nil
}

// testName finds the tests of a Go file.
var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsOf returns the tests of a package that a pattern matches.
func testsOf(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testName.FindAllSubmatch(source, -1) {
			if name := string(match[1]); regexp.MustCompile(pattern).MatchString(name) {
				tests = append(tests, name)
			}
		}
	}
	return tests
}

// build makes what a guest runs, and returns the files: the tests of the packages under ebpf/,
// promscope and node_exporter.
func build(t *testing.T, architecture string) []string {
	t.Helper()
	out := filepath.Join(*cache, "build-"+architecture)
	environment := []string{"CGO_ENABLED=0", "GOARCH=" + architecture}
	goBuild := func(name string, arguments ...string) string {
		path := filepath.Join(out, name)
		command(t, environment, "go", append(arguments[:1:1], append([]string{"-trimpath", "-ldflags=-s -w", "-o", path}, arguments[1:]...)...)...)
		return path
	}
	files := []string{goBuild("promscope", "build", "../../cmd/promscope"), nodeExporter(t, out, architecture)}
	dirs, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if len(testsOf(t, dir, everywhere+"|"+preempted+"|"+manyCPUs)) != 0 {
			files = append(files, goBuild(filepath.Base(dir)+".test", "test", "-c", dir))
		}
	}
	return files
}

// nodeExporter builds the exporter once; it does not change with the checkout.
func nodeExporter(t *testing.T, out, architecture string) string {
	t.Helper()
	const version = "v1.12.1"
	path := filepath.Join(out, "node_exporter")
	if stamp, err := os.ReadFile(path + ".version"); err == nil && string(stamp) == version {
		return path
	}
	// go install puts it to a place that depends on whether the architecture is the machine's.
	module := command(t, nil, "go", "mod", "download", "-json", "github.com/prometheus/node_exporter@"+version)
	dir := regexp.MustCompile(`"Dir": "(.*)"`).FindStringSubmatch(module)
	if dir == nil {
		t.Fatalf("no directory in %s", module)
	}
	command(t, []string{"CGO_ENABLED=0", "GOARCH=" + architecture, "GOFLAGS=-mod=mod"}, "go", "build", "-C", dir[1], "-ldflags=-s -w", "-o", path, ".")
	if err := os.WriteFile(path+".version", []byte(version), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// halfPatched is what a kernel dies of when a CPU runs an instruction that is just being patched, and
// the emulator is not as careful about that as a CPU is: it happens once in some thirty guests.
const halfPatched = "Oops: int3"

// runIn runs a script in a guest and returns what it printed.
func runIn(t *testing.T, g guest, script string, files []string) (string, error) {
	t.Helper()
	// promscope's report is compared with a disk that is slow, so that there is iowait.
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(t.Context(), "./boot", append([]string{filepath.Join(*cache, g.kernel), script}, files...)...)
	cmd.Env = append(os.Environ(), "CPUS="+g.cpus, "TIMEOUT=840",
		"QEMU=-drive if=virtio,format=raw,throttling.iops-total=20,file="+disk)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("boot: %w\n%s%s", err, end(stdout.String()), stderr.String())
	}
	return stdout.String(), nil
}

// boot runs the guest's tests in it and returns what they say of each hook set. A test that
// fails there fails here.
func boot(t *testing.T, g guest, files []string) []row {
	t.Helper()
	script := []string{"echo \"release $(uname -r)\""}
	type job struct {
		guest     string
		collector string
	}
	var jobs []job
	for _, r := range g.runs {
		if r.preempt != "" {
			script = append(script, "echo "+r.preempt+" > /sys/kernel/debug/sched/preempt && grep -q '("+r.preempt+")' /sys/kernel/debug/sched/preempt || exit 9")
		}
		for _, file := range files {
			name, isTest := strings.CutSuffix(filepath.Base(file), ".test")
			if !isTest || len(testsOf(t, filepath.Join("..", name), r.tests)) == 0 {
				continue
			}
			script = append(script, fmt.Sprintf("echo 'job %d'; %s PROMSCOPE_TEST_DISK=/dev/vda ./%s.test -test.v=test2json -test.timeout=8m '-test.run=%s'; echo \"exit $?\"",
				len(jobs), r.environment, name, r.tests))
			jobs = append(jobs, job{g.name(r), name})
		}
	}
	began := time.Now()
	stdout, err := runIn(t, g, strings.Join(script, "\n"), files)
	if err != nil && strings.Contains(err.Error(), halfPatched) {
		t.Logf("once more, for the emulator's fault: %v", err)
		stdout, err = runIn(t, g, strings.Join(script, "\n"), files)
	}
	if err != nil {
		t.Error(err)
	}
	release, outputs := split(stdout)
	rows := []row{} // not nil: this guest was booted
	byJob := map[job][]result{}
	var took []string
	for i, j := range jobs {
		output := outputs[i]
		switch output.exit {
		case "0":
		case "1":
			t.Errorf("tests of %s failed", j.collector)
		default:
			t.Errorf("the tests of %s ended with %q:\n%s", j.collector, output.exit, end(output.text))
		}
		results := parse(t, output.text)
		if !slices.ContainsFunc(results, func(r result) bool { return r.outcome == passed }) {
			t.Errorf("no test of %s passed", j.collector)
		}
		for _, r := range results {
			if r.outcome == failed {
				t.Errorf("%s: %s\n%s", j.collector, r.test, end(r.output))
			}
			if strings.Count(r.test, "/") < 3 {
				took = append(took, fmt.Sprintf("%s %.1f s", r.test, r.seconds))
			}
		}
		byJob[j] = append(byJob[j], results...)
	}
	for i, j := range jobs {
		if slices.Index(jobs, j) == i {
			rows = append(rows, rowsOf(j.guest, release, j.collector, byJob[j])...)
		}
	}
	markServing(rows, stdout)
	t.Logf("%.0f s: %s", time.Since(began).Seconds(), strings.Join(took, ", "))
	return rows
}

// end returns the last lines of an output; before them is what the verifier read, thousands of lines.
func end(output string) string {
	lines := strings.SplitAfter(output, "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "")
}
