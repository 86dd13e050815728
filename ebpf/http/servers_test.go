package http

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// server is one of the programs that the counts are proven with.
type server struct {
	name    string
	command string // skipped where it is not installed
	// start runs it on the address and returns its first process. upstream answers as the Go
	// server does, on behalf of proxies.
	start func(t testing.TB, address, upstream string) int
	proxy bool
}

func realServers() []server {
	return []server{
		{name: "go", start: func(t testing.TB, address, _ string) int { return startGo(t, address) }},
		{name: "nginx", command: "nginx", start: startNginx},
		{name: "nginx-proxy", command: "nginx", start: startNginxProxy, proxy: true},
		{name: "apache", command: "apache2", start: startApache},
		{name: "node", command: "node", start: startNode},
		{name: "python", command: "python3", start: startPython},
		{name: "haproxy", command: "haproxy", start: startHAProxy, proxy: true},
	}
}

func (s server) run(t testing.TB, address, upstream string) int {
	t.Helper()
	if s.command != "" {
		if _, err := exec.LookPath(s.command); err != nil {
			requireServers(t, err)
		}
	}
	return s.start(t, address, upstream)
}

func startGo(t testing.TB, address string) int {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=server", "PROMSCOPE_TEST_ADDRESS="+address)
	return start(t, address, cmd)
}

// write makes a file in the test's directory and returns its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// webRoot is a directory with the file /large, readable by the servers' own users.
func webRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "promscope") //nolint:usetesting // other users may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "large", strings.Repeat("GET / HTTP/1.1\r\n", 1<<20/16))
	write(t, dir, "200", "fine")
	return dir
}

func nginx(t testing.TB, address string, workers int, locations string) int {
	dir := webRoot(t)
	config := write(t, dir, "nginx.conf", fmt.Sprintf(`
worker_processes %[4]d;
daemon off;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s reuseport;
		root %[1]s;
		%[3]s
	}
}`, dir, address, locations, workers))
	return start(t, address, exec.Command("nginx", "-c", config, "-e", "stderr", "-p", dir))
}

func startNginx(t testing.TB, address, _ string) int {
	return nginx(t, address, 2, `
		location = /200 { return 200 "fine"; }
		location = /404 { return 404; }
		location = /502 { return 502; }
		location = /large { error_page 405 =200 $uri; }`)
}

func startNginxProxy(t testing.TB, address, upstream string) int {
	return nginx(t, address, 2, `
		location / {
			proxy_pass http://`+upstream+`;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}`)
}

func startApache(t testing.TB, address, _ string) int {
	dir := webRoot(t)
	modules := "/usr/lib/apache2/modules"
	config := write(t, dir, "apache.conf", fmt.Sprintf(`
LoadModule mpm_prefork_module %[3]s/mod_mpm_prefork.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule alias_module %[3]s/mod_alias.so
ServerName localhost
ServerRoot %[1]s
PidFile %[1]s/apache.pid
Mutex file:%[1]s default
DocumentRoot %[1]s
ErrorLog /dev/stderr
LogLevel error
Listen %[2]s
User nobody
Group nogroup
MaxKeepAliveRequests 0
Redirect 502 /502
<Directory %[1]s>
	Require all granted
</Directory>
`, dir, address, modules))
	return start(t, address, exec.Command("apache2", "-D", "FOREGROUND", "-f", config))
}

func startNode(t testing.TB, address, _ string) int {
	return start(t, address, exec.Command("node", "-e", `
const large = "GET / HTTP/1.1\r\n".repeat((1 << 20) / 16);
require("http").createServer((request, response) => {
	request.resume();
	request.on("end", () => {
		if (request.url === "/large") return response.end(large);
		response.statusCode = Number(request.url.slice(1));
		response.end("fine");
	});
}).listen(`+portOf(address)+`, "127.0.0.1");`))
}

func startPython(t testing.TB, address, _ string) int {
	return start(t, address, exec.Command("python3", "-c", `
import http.server
large = b"GET / HTTP/1.1\r\n" * ((1 << 20) // 16)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = large if self.path == "/large" else b"fine"
        self.send_response(200 if self.path == "/large" else int(self.path[1:]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", `+portOf(address)+`), Handler).serve_forever()`))
}

func startHAProxy(t testing.TB, address, upstream string) int {
	config := write(t, t.TempDir(), "haproxy.cfg", `
defaults
	mode http
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend in
	bind `+address+`
	default_backend out
backend out
	server up `+upstream+`
`)
	return start(t, address, exec.Command("haproxy", "-db", "-f", config))
}
