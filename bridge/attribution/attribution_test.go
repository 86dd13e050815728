package attribution

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// A unix socket of another network namespace is dialled by its path.
func TestDialUnixSocketOfAnotherNamespace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	target := labels.FromStrings(discovery.LabelNetNS, "4026531999", job.LabelUnixSocket, path)
	conn, err := dial(socket.New(machine))(t.Context(), target, "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestProcessLabels(t *testing.T) {
	for _, test := range []struct {
		process host.Process
		want    labels.Labels
	}{
		{host.Process{PID: 7}, labels.FromStrings("target_pid", "7", "target_subject_pid", "7")},
		{host.Process{PID: 7, Container: "c", Pod: "p"}, labels.FromStrings(
			"target_container_id", "c", "target_pid", "7", "target_pod_uid", "p", "target_subject_pid", "7")},
	} {
		if got := processLabels(test.process); !labels.Equal(got, test.want) {
			t.Errorf("%+v: %s, want %s", test.process, got, test.want)
		}
	}
}
