package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/bridge/view"
)

// withoutHostName is the environment of the tests without a host name for Scope.
func withoutHostName() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SCOPE_HOSTNAME=") })
}

// startUnnamed runs promscope as startPlugin does, but for a host name only if one
// is given.
func startUnnamed(t *testing.T, args ...string) *plugin {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	// Sockets have short names; a probe in another mount namespace has to see it.
	root := t.TempDir()
	p := &plugin{socket: filepath.Join(root, "promscope", "promscope.sock"), web: freeAddress(t)}
	config := writeConfig(t, "scrape_configs: []\npresets: [iowait]\n")
	cmd := exec.Command(path, append([]string{
		"--scope.plugins-root=" + root, "--config.file=" + config, "--web.listen-address=" + p.web,
	}, args...)...)
	cmd.Env = withoutHostName()
	p.process = startCommand(t, cmd)
	p.web = "http://" + p.web
	eventually(t, 30*time.Second, "the socket", func() error {
		_, err := os.Stat(p.socket)
		return err
	})
	return p
}

// hostIs checks under which name the host is in the report and in the metric.
func hostIs(t *testing.T, p *plugin, name, source string) func() error {
	client := probetest.NewClient(p.socket, probetest.Options{Host: name})
	t.Cleanup(client.Close)
	return func() error {
		if want := fmt.Sprintf("promscope_host_info{host=%q,source=%q} 1", name, source); !strings.Contains(p.metrics(t), want) {
			return fmt.Errorf("no %s in /metrics", want)
		}
		// Asked like this, it is no probe that promscope would take the name of.
		_, body, err := getUnix(t.Context(), p.socket, "/report")
		if err != nil {
			return err
		}
		if !strings.Contains(body, fmt.Sprintf("%q:{", name+";<host>")) {
			return fmt.Errorf("no host %s in the report: %s", name, body)
		}
		return nil
	}
}

// The host is called in the report what the probe calls it.
func TestHostName(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		unmet(t, "needs root, to make namespaces")
	}
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	environment := []string{"SCOPE_HOSTNAME=node-a"}

	t.Run("guessed", func(t *testing.T) {
		t.Parallel()
		p := startUnnamed(t)
		source := "init_uts"
		if !strings.Contains(p.metrics(t), source) {
			source = "hostname" // what process 1 says may not be asked
		}
		eventually(t, 5*time.Second, "the own name", hostIs(t, p, own, source))
	})
	t.Run("environment of the probe", func(t *testing.T) {
		t.Parallel()
		p := startUnnamed(t)
		startRole(t, syscall.CLONE_NEWUTS, environment, "probe "+p.socket+" another-name")
		eventually(t, 5*time.Second, "the probe's name", hostIs(t, p, "node-a", "probe_environment"))
		if log := p.output.String(); strings.Contains(log, "--scope.host") {
			t.Errorf("nothing to warn of, but:\n%s", log)
		}
	})
	t.Run("somebody else polls as a probe does", func(t *testing.T) {
		t.Parallel()
		p := startUnnamed(t)
		startRole(t, syscall.CLONE_NEWUTS, environment, "probe "+p.socket+" another-name")
		eventually(t, 5*time.Second, "the probe's name", hostIs(t, p, "node-a", "probe_environment"))
		client := probetest.NewClient(p.socket, probetest.Options{Host: "node-a"})
		defer client.Close()
		if _, err := client.PollFor(t.Context(), 3, 100*time.Millisecond); err != nil {
			t.Error(err)
		}
		if err := hostIs(t, p, "node-a", "probe_environment")(); err != nil {
			t.Error(err)
		}
	})
	t.Run("host name of the probe", func(t *testing.T) {
		t.Parallel()
		p := startUnnamed(t)
		startRole(t, syscall.CLONE_NEWUTS, nil, "probe "+p.socket+" another-name")
		eventually(t, 5*time.Second, "the probe's name", hostIs(t, p, "another-name", "probe_uts"))
	})
	t.Run("another one by flag", func(t *testing.T) {
		t.Parallel()
		p := startUnnamed(t, "--scope.host=by-flag")
		eventually(t, 5*time.Second, "the given name", hostIs(t, p, "by-flag", "configuration"))
		if log := p.output.String(); strings.Contains(log, "differ") {
			t.Errorf("nobody has contradicted:\n%s", log)
		}
		startRole(t, syscall.CLONE_NEWUTS, environment, "probe "+p.socket)
		eventually(t, 5*time.Second, "the warning", func() error {
			for line := range strings.Lines(p.output.String()) {
				if strings.Contains(line, "level=WARN") && strings.Contains(line, "--scope.host") &&
					strings.Contains(line, "host=by-flag") && strings.Contains(line, "other=node-a") {
					return nil
				}
			}
			return errNotYet
		})
		if err := hostIs(t, p, "by-flag", "configuration")(); err != nil {
			t.Error(err)
		}
		polls := func() (n uint64) {
			var scope view.Scope
			api(t, p, "scope", &scope)
			for _, poller := range scope.Pollers {
				n += poller.Polls
			}
			return n
		}
		before := polls()
		eventually(t, 20*time.Second, "more polls", func() error {
			if polls() < before+10 {
				return errNotYet
			}
			return nil
		})
		if n := strings.Count(p.output.String(), "other=node-a"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}
