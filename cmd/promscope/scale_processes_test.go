package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

// startChild starts the test binary as another program, which ends with this one, and
// returns the line that it prints.
func startChild(role string) (line string, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = os.Stdin // it ends when this does
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), err
}

// playServers is so many HTTP servers, each a process of its own, and a client that asks
// each of them once a second.
func playServers(argument string) error {
	count, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	urls := make([]string, count)
	for i := range urls {
		address, err := startChild("server 127.0.0.1:0")
		if err != nil {
			return err
		}
		urls[i] = "http://" + address
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	go func() {
		for range time.Tick(time.Second) {
			for _, url := range urls {
				if response, err := client.Get(url); err == nil {
					response.Body.Close()
				}
			}
		}
	}()
	fmt.Println("serving")
	return nil
}

// churnLife is how long a process of the churn lives.
const churnLife = 2 * time.Second

// playChurn starts so many processes a second that serve an exposition on a port where
// promscope looks for some, and end soon.
func playChurn(argument string) error {
	rate, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	go func() {
		started := 0
		for range time.Tick(time.Second / time.Duration(rate)) {
			started++
			address := net.JoinHostPort("127.0.0.1", strconv.Itoa(9090+started%910))
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVariable+"=golang "+address)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			cmd.Stdin = os.Stdin
			if err := cmd.Start(); err != nil {
				continue
			}
			time.AfterFunc(churnLife, func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
		}
	}()
	fmt.Println("churning")
	return nil
}
