package pressure

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// resources are what a group can be short of. The files of PSI are named after them.
func resources() [3]string { return [...]string{"cpu", "memory", "io"} }

// stall is how long a group was short of a resource.
type stall struct {
	waiting float64 // seconds in which some threads waited
	stalled float64 // seconds in which all did that had something to do
	hasFull bool    // whether the kernel tells the second
}

// group is the host, or a container or pod, at work: its files of PSI are open. To read
// an open one takes a quarter of the time that it takes to open, read and close it.
type group struct {
	files [3]*os.File // as resources has them
}

// openGroup opens the files of PSI of a group.
func openGroup(path func(resource string) string) (*group, error) {
	g := &group{}
	for i, resource := range resources() {
		f, err := os.Open(path(resource))
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.files[i] = f
	}
	return g, nil
}

func (g *group) close() error {
	var errs []error
	for _, f := range g.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// read returns how long the group was short of each of the resources. The kernel adds up
// what the CPUs have counted when it is asked, so the values are those of this moment.
func (g *group) read() (stalls [3]stall, err error) {
	var buf [512]byte
	for i, f := range g.files {
		n, err := f.ReadAt(buf[:], 0)
		if n == 0 {
			return stalls, fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		if stalls[i], err = parse(buf[:n]); err != nil {
			return stalls, fmt.Errorf("reading %s: %w", f.Name(), err)
		}
	}
	return stalls, nil
}

// parse reads a file of PSI, whose totals are in microseconds:
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=0
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// That of the CPU has no second line on kernels before 5.13.
func parse(content []byte) (s stall, err error) {
	hasSome := false
	for line := range bytes.Lines(content) {
		kind, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		_, total, _ := bytes.Cut(rest, []byte("total="))
		switch string(kind) {
		case "some":
			hasSome = true
			s.waiting, err = seconds(total)
		case "full":
			s.hasFull = true
			s.stalled, err = seconds(total)
		}
		if err != nil {
			return stall{}, fmt.Errorf("the total of %q is no number", line)
		}
	}
	if !hasSome {
		return stall{}, fmt.Errorf("no line begins with %q", "some")
	}
	return s, nil
}

func seconds(microseconds []byte) (float64, error) {
	n, err := strconv.ParseUint(string(microseconds), 10, 64)
	return float64(n) / 1e6, err
}
