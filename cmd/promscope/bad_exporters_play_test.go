package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// act is what a bad exporter does to a connection, from its first byte on. The connection
// is closed after it.
type act func(net.Conn)

// played serves connections by an act until the test ends, and returns the address.
func played(t testing.TB, does act) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				does(c)
			}()
		}
	}()
	return l.Addr().String()
}

// asked does all that after it has read a request.
func asked(acts ...act) act {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_ = r.Body.Close()
		then(acts...)(c)
	}
}

// then does one after the other.
func then(acts ...act) act {
	return func(c net.Conn) {
		for _, do := range acts {
			do(c)
		}
	}
}

// sends writes texts.
func sends(texts ...string) act {
	return func(c net.Conn) { _, _ = io.WriteString(c, strings.Join(texts, "")) }
}

// resets has the peer's next read or write fail.
func resets(c net.Conn) {
	// What was sent is to arrive before the reset does.
	time.Sleep(50 * time.Millisecond)
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// hangs waits until the peer gives up.
func hangs(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// drips sends a text again and again, byte by byte, ten bytes a second.
func drips(text string) act {
	return func(c net.Conn) {
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// repeats sends a text n times, for ever if n is negative, and a pause after each.
func repeats(n int, text string, pause time.Duration) act {
	return func(c net.Conn) {
		w := bufio.NewWriterSize(c, 64<<10)
		for ; n != 0; n-- {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
			if pause > 0 {
				_ = w.Flush()
				time.Sleep(pause)
			}
		}
		_ = w.Flush()
	}
}

// The beginnings of answers.
const (
	okay     = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
	asText   = "Content-Type: text/plain; version=0.0.4\r\n"
	asOpen   = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
	asProto  = "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n"
	gzipped  = "Content-Encoding: gzip\r\n"
	inChunks = "Transfer-Encoding: chunked\r\n"
	begin    = okay + asText + "\r\n" // without a length: the body ends with the connection
)

// answers has a header and a body of the length that it says.
func answers(header, body string) act {
	return asked(sends(okay, header, fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)), body))
}

// exposes answers with a body in the text format.
func exposes(body string) act { return answers(asText, body) }

// status answers with a status, and with an exposition.
func status(line, header string) act {
	return asked(sends("HTTP/1.1 ", line, "\r\nConnection: close\r\n", asText, header, fmt.Sprintf("Content-Length: %d\r\n\r\n", len(good)), good))
}

// leads redirects to a URL, whatever it is asked.
func leads(to string) act { return status("302 Found", "Location: "+to+"\r\n") }

// loops redirects between two paths.
func loops(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	to := "/there"
	if r.URL.Path == to {
		to = "/metrics"
	}
	sends("HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: ", to, "\r\n\r\n")(c)
}

// counts answers each time with what the texts say in turn.
func counts(bodies ...string) act {
	var n atomic.Int64
	return func(c net.Conn) { exposes(bodies[int(n.Add(1)-1)%len(bodies)])(c) }
}

// zip packs a text. What is packed can be put together as texts can.
func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// lines are n lines, each made of its number.
func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// identities are a certificate authority and what it signed.
type identities struct {
	caFile string // PEM
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate
}

func newIdentities(t testing.TB) *identities {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &identities{key: key, caFile: filepath.Join(t.TempDir(), "ca.pem")}
	i.ca = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, i.ca, i.ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// serves does an act in TLS, with a certificate for 127.0.0.1 that set makes a bad one.
func (i *identities) serves(does act, set func(*x509.Certificate)) act {
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: marks}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	parent := i.ca
	if set != nil {
		set(certificate)
	}
	if certificate.IsCA {
		parent = certificate // signed by itself
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, i.key.Public(), i.key)
	if err != nil {
		panic(err) // of a wrong test
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: i.key}}}
	return func(c net.Conn) {
		secure := tls.Server(c, config)
		defer secure.Close()
		does(secure)
	}
}
