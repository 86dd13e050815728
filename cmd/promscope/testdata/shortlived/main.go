// The command shortlived is an HTTP server that starts fast: tests start many of them.
//
//	shortlived ADDRESS [METRIC [VALUE]]
//
// It prints the address where it listens, and ends with its standard input. It exposes
// the metric with the value, or with its own pid.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if os.Getpid() == 1 { // in namespaces of its own
		if err := hosttest.LoopbackUp(); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	metric, value := "", strconv.Itoa(os.Getpid())
	if len(args) > 1 {
		metric = args[1]
	}
	if len(args) > 2 {
		value = args[2]
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if metric == "" || r.URL.Path != "/metrics" {
				fmt.Fprintln(w, "hello")
				return
			}
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintf(w, "# TYPE %s gauge\n%s %s\n", metric, metric, value)
		}))
	}()
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
