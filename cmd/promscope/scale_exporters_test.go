package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// playExporters is so many exporters, each a process of its own, and the processes that
// their series name. It prints the addresses as YAML has them.
func playExporters(argument string) error {
	var targets, series, selected, pids, metrics int
	if _, err := fmt.Sscan(argument, &targets, &series, &selected, &pids, &metrics); err != nil {
		return err
	}
	named, err := startSleepers(pids)
	if err != nil {
		return err
	}
	addresses := make([]string, targets)
	for i := range addresses {
		address, err := startChild(fmt.Sprintf("exporter %d %d %d %s", series, selected, metrics, strings.Join(named, ",")))
		if err != nil {
			return err
		}
		addresses[i] = strconv.Quote(address)
	}
	fmt.Println(strings.Join(addresses, ","))
	return nil
}

// startSleepers starts processes that do nothing, and end with this one.
func startSleepers(n int) (pids []string, err error) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return nil, err
	}
	for range n {
		// Not exec.Command: to wait for each takes a thread.
		attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
		pid, err := syscall.ForkExec(sleep, []string{"sleep", "3600"}, attr)
		if err != nil {
			return nil, err
		}
		pids = append(pids, strconv.Itoa(pid))
	}
	return pids, nil
}

// playExporter is one exporter. Its selected series change with each scrape. They are
// buckets of histograms, ten for each path and process.
func playExporter(argument string) error {
	var series, selected, metrics int
	var pids string
	_, _ = fmt.Sscan(argument, &series, &selected, &metrics, &pids)
	named := strings.Split(pids, ",")
	var heads [][]byte
	for i := range selected {
		le := strconv.Itoa(i / metrics % 10)
		if le == "9" {
			le = "+Inf"
		}
		process := i / metrics % len(named)
		if selected > 10*metrics*len(named) {
			process = i / metrics / 10 % len(named) // whole histograms
		}
		heads = append(heads, fmt.Appendf(nil, `scale_selected%d{pid="%s",le="%s",path="/api/v1/resource/%d",method="GET",handler="prometheus",instance_id="a7c3"} `,
			i%metrics, named[process], le, i/metrics))
	}
	var constant bytes.Buffer
	for i := range series - selected {
		fmt.Fprintf(&constant, "scale_other_%d{path=\"/api/v1/resource/%d\",method=\"GET\",handler=\"prometheus\",instance_id=\"a7c3\"} %d\n", i%1000, i, i)
	}
	start := time.Now()
	return serveRole("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		var body []byte
		body = fmt.Appendf(body, "scale_clock_seconds %.3f\n", float64(now.UnixMilli())/1e3)
		for i, head := range heads {
			body = append(body, head...)
			body = strconv.AppendFloat(body, now.Sub(start).Seconds()*float64(i%10+1)*1.37, 'f', 4, 64)
			body = append(body, '\n')
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+constant.Len()))
		_, _ = w.Write(body)
		_, _ = w.Write(constant.Bytes())
	}))
}

// playFetch fetches what exporters expose, as often as promscope, and throws it away.
func playFetch(argument string) error {
	pace, addresses, _ := strings.Cut(argument, " ")
	interval, err := time.ParseDuration(pace)
	if err != nil {
		return err
	}
	list := strings.Split(addresses, ",")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: interval}
	fetch := func(url string) {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			return
		}
		request.Header.Set("Accept-Encoding", "identity")
		response, err := client.Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
	}
	for i, quoted := range list {
		address, err := strconv.Unquote(quoted)
		if err != nil {
			return err
		}
		go func() {
			time.Sleep(interval * time.Duration(i) / time.Duration(len(list)))
			for range time.Tick(interval) {
				fetch("http://" + address + "/metrics")
			}
		}()
	}
	fmt.Println("fetching")
	return nil
}
