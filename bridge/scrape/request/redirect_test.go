package request

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/scrape/job"
)

// recorder is a server that notes what it is asked, and answers what is set.
type recorder struct {
	*httptest.Server
	asked []*http.Request
	to    map[string]string // redirects, by path
}

func record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{to: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked = append(r.asked, req)
		if to, ok := r.to[req.URL.Path]; ok {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, sample)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) address() model.LabelValue { return model.LabelValue(r.Listener.Addr().String()) }

// Redirects are followed on the target's own scheme, host and port, with its
// credentials. Nobody else is asked.
func TestRedirectsStay(t *testing.T) {
	for name, tc := range map[string]struct {
		to   func(target, other *recorder) string
		off  bool   // follow_redirects
		want string // the reason
	}{
		"another path":         {func(_, _ *recorder) string { return "/there" }, false, ""},
		"the own address":      {func(t, _ *recorder) string { return t.URL + "/there" }, false, ""},
		"another port":         {func(_, o *recorder) string { return o.URL + "/there" }, false, "redirect"},
		"another name of this": {func(t, _ *recorder) string { return strings.Replace(t.URL, "127.0.0.1", "localhost", 1) }, false, "redirect"},
		"another scheme":       {func(t, _ *recorder) string { return strings.Replace(t.URL, "http:", "https:", 1) }, false, "redirect"},
		"without a scheme":     {func(_, o *recorder) string { return strings.TrimPrefix(o.URL, "http:") + "/" }, false, "redirect"},
		"a file":               {func(_, _ *recorder) string { return "file:///etc/passwd" }, false, "redirect"},
		"itself":               {func(_, _ *recorder) string { return "/metrics" }, false, "redirect"},
		"follow_redirects off": {func(_, _ *recorder) string { return "/there" }, true, "status"},
	} {
		t.Run(name, func(t *testing.T) {
			target, other := record(t), record(t)
			target.to["/metrics"] = tc.to(target, other)
			_, err := ask(t, targetOf(t, model.LabelSet{"__address__": target.address()}, func(j *job.Config) {
				j.HTTPClientConfig.FollowRedirects = !tc.off
				j.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "p"}
			}), Options{})
			if Reason(err) != tc.want || (err == nil) != (tc.want == "") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if len(other.asked) > 0 {
				t.Errorf("somebody else was asked: %v", other.asked)
			}
			if tc.want != "" {
				return
			}
			if len(target.asked) != 2 || target.asked[1].Header.Get("Authorization") == "" {
				t.Errorf("asked %d times, or without credentials", len(target.asked))
			}
		})
	}
}

func elsewhere(j *job.Config) {
	j.FollowRedirectsElsewhere = true
	j.Params = map[string][]string{"module": {"m"}}
}

func TestRedirectsElsewhere(t *testing.T) {
	target, other := record(t), record(t)
	target.to["/metrics"] = other.URL + "/there"
	if body, err := ask(t, targetOf(t, model.LabelSet{"__address__": target.address()}, elsewhere), Options{}); err != nil || body != sample {
		t.Fatalf("%q, %v", body, err)
	}
	if len(other.asked) != 1 || other.asked[0].Header.Get("Referer") != "" {
		t.Errorf("%d requests, %v", len(other.asked), other.asked[0].Header)
	}
}

// Where no job may be sent, whatever it says.
func TestRedirectsNever(t *testing.T) {
	for _, to := range []string{
		"file:///etc/passwd", "gopher://127.0.0.1:70/", "http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/",
		"http://[fe80::1%25lo]/", "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
		"http://192.0.0.192/opc/v2/", "http://metadata.google.internal/", "http://METADATA.google.internal./", "http://0.0.0.0/",
	} {
		target := record(t)
		target.to["/metrics"] = to
		var dialed []string
		_, err := ask(t, targetOf(t, model.LabelSet{"__address__": target.address()}, elsewhere), Options{
			Dial: func(ctx context.Context, network, address string, own bool) (net.Conn, error) {
				if !own {
					dialed = append(dialed, address)
				}
				return dialPlainly(ctx, network, address, own)
			},
		})
		if Reason(err) != "redirect" || len(dialed) > 0 {
			t.Errorf("%s: %v, dialed %v", to, err, dialed)
		}
	}
}

// A name may lead to where no redirect may. That shows when it is connected to, and
// nothing is sent then.
func TestRedirectToNameOfMetadata(t *testing.T) {
	target := record(t)
	target.to["/metrics"] = "http://innocent.example/"
	var sent [1]byte
	_, err := ask(t, targetOf(t, model.LabelSet{"__address__": target.address()}, elsewhere), Options{
		Dial: func(ctx context.Context, network, address string, own bool) (net.Conn, error) {
			if own {
				return dialPlainly(ctx, network, address, own)
			}
			if address != "innocent.example:80" {
				return nil, fmt.Errorf("dialed %s", address)
			}
			client, server := net.Pipe()
			go func() { _, _ = server.Read(sent[:]) }()
			return metadataConn{client}, nil
		},
	})
	if Reason(err) != "redirect" || sent[0] != 0 {
		t.Errorf("got %v, sent %q", err, sent)
	}
}

// metadataConn is a connection to a metadata service.
type metadataConn struct{ net.Conn }

func (metadataConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80}
}
