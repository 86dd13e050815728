package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

// startEverything starts all servers and exporters that are installed.
func startEverything(t *testing.T) []server {
	t.Helper()
	var all []server
	for _, start := range []func(*testing.T) []server{
		everyNode, everyNginx, everyApache, everyHAProxy, everyRedis, everyPostgres, everyMariaDB, everyPushgateway,
		everyBIND, everyVarnish, everySquid, everyEtcd, everyPrometheus, everyAlertmanager, everyCoreDNS, everyCaddy, everyRabbitMQ, everyOther,
	} {
		all = append(all, start(t)...)
	}
	return all
}

// installed returns the path of a program. Where it is "", the test does without the
// server, unless CI's list has its package.
func installed(t *testing.T, pkg, name string) string {
	t.Helper()
	if pkg == byHand && os.Getenv(everyServer) != "1" {
		return ""
	}
	found, err := exec.LookPath(name)
	if err == nil {
		return found
	}
	for _, dir := range []string{"/usr/sbin", "/usr/lib/postgresql/*/bin"} {
		if paths, _ := filepath.Glob(filepath.Join(dir, name)); len(paths) > 0 {
			return paths[len(paths)-1]
		}
	}
	if pkg != byHand && os.Getenv(requireServers) == "1" {
		t.Fatalf("needs %s (Debian: %s)", name, pkg)
	}
	t.Logf("there is no %s", name)
	return ""
}

// byHand stands for the package of a program that the test starts only if everyServer is 1
// in the environment: some take a minute.
const (
	byHand      = ""
	everyServer = "PROMSCOPE_TEST_EVERY_SERVER"
)

func everyNode(t *testing.T) []server {
	t.Helper()
	path, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, path, "--web.listen-address=127.0.0.1:9100")
	return []server{thisHost(t), exporterOf(t, "node_exporter", p, "9100")}
}

func everyNginx(t *testing.T) []server {
	t.Helper()
	path := installed(t, "prometheus-nginx-exporter", "prometheus-nginx-exporter")
	if path == "" || installed(t, "nginx", "nginx") == "" {
		return nil
	}
	nginx := startNginx(t, "127.0.0.1:8080")
	steadily(t, 50, request(t, "http://127.0.0.1:8080/"))
	start(t, path, "-nginx.scrape-uri=http://127.0.0.1:8080/stub_status") // which says nothing of itself
	awaitListener(t, "127.0.0.1:9113")
	page := askPage("http://127.0.0.1:8080/stub_status",
		`Active connections: (?P<active>\d+)\s+server accepts handled requests\s+\d+ \d+ (?P<requests>\d+)`)
	return []server{{
		name: "nginx", topo: "Process", node: processNode(nginx),
		ask: func() (map[string]float64, error) {
			says, err := page()
			if err == nil {
				says["others"] = says["active"] - 1 // this one; the exporter has another one
			}
			return says, err
		},
		want: map[string]expectation{
			"promscope_nginx_requests":    rate("requests"),
			"promscope_nginx_connections": level(1, "others", 1),
			"promscope_nginx_dropped":     between(0, 0),
		},
	}}
}

func everyApache(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, "apache2", "apache2"), installed(t, "prometheus-apache-exporter", "prometheus-apache-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	apache := startApache(t, path, "127.0.0.1:8082")
	steadily(t, 50, request(t, "http://127.0.0.1:8082/file"))
	exporter := start(t, exporterPath, "--telemetry.address=127.0.0.1:9117", "--scrape_uri=http://127.0.0.1:8082/server-status?auto")
	page := askPage("http://127.0.0.1:8082/server-status?auto",
		`(?s)Total Accesses: (?P<accesses>\d+).*Total kBytes: (?P<kB>\d+).*Total Duration: (?P<ms>\d+).*BusyWorkers: (?P<busy>\d+)`)
	return []server{{
		name: "Apache", topo: "Process", node: processNode(apache), ask: page,
		want: map[string]expectation{
			"promscope_apache_requests": rate("accesses"),
			"promscope_apache_sent":     increase(1024, "kB", 1024),
			"promscope_apache_duration": meanTime("ms", "accesses"),
			"promscope_apache_workers":  level(100.0/50, "busy", 2.01), // one of the load may be among them,
		},
	}, exporterOf(t, "Apache's exporter", exporter, "9117")}
}

// startApache runs Apache with a file and its status.
func startApache(t *testing.T, path, address string) *process {
	t.Helper()
	dir, _ := daemonDir(t, "www-data")
	write(t, filepath.Join(dir, "file"), strings.Repeat("x", 10_000))
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(`
ServerRoot %[1]s
ServerName localhost
PidFile %[1]s/pid
ErrorLog %[1]s/log
Listen %[2]s
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule status_module /usr/lib/apache2/modules/mod_status.so
StartServers 1
ServerLimit 2
ThreadsPerChild 25
MaxRequestWorkers 50
DocumentRoot %[1]s
<Location /server-status>
SetHandler server-status
</Location>
`, dir, address))
	apache := start(t, path, "-DFOREGROUND", "-f", filepath.Join(dir, "conf"))
	awaitListener(t, address)
	return apache
}

func everyHAProxy(t *testing.T) []server {
	t.Helper()
	path := installed(t, "haproxy", "haproxy")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	write(t, filepath.Join(dir, "cfg"), fmt.Sprintf(`
global
  stats socket %s
  maxconn 50
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 1s
frontend web
  bind 127.0.0.1:8083
  http-request return status 503 if { path /fails }
  http-request return status 200
frontend statistics
  bind 127.0.0.1:8084
  stats enable
  stats uri /
frontend metrics
  bind 127.0.0.1:8404
  http-request use-service prometheus-exporter
backend app
  server up 127.0.0.1:8080
  server down 127.0.0.1:1 check inter 100ms fall 1
`, socket))
	haproxy := start(t, path, "-db", "-f", filepath.Join(dir, "cfg"))
	awaitListener(t, "127.0.0.1:8083")
	for range 10 {
		conn, err := net.Dial("tcp", "127.0.0.1:8083")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	steadily(t, 40, request(t, "http://127.0.0.1:8083/"))
	steadily(t, 20, request(t, "http://127.0.0.1:8083/fails"))
	servers := []server{{
		name: "HAProxy", topo: "Process", node: processNode(haproxy),
		ask: func() (map[string]float64, error) {
			info, err := askSocket(socket, "show info\n")
			if err != nil {
				return nil, err
			}
			says := numbers(info, `(?m)^(\w+): (\d+)`)
			stat, err := askSocket(socket, "show stat\n")
			if err != nil {
				return nil, err
			}
			lines := strings.Split(stat, "\n")
			columns := strings.Split(lines[0], ",")
			for _, line := range lines[1:] {
				fields := strings.Split(line, ",")
				for i := 2; i < len(fields); i++ {
					if value, err := strconv.ParseFloat(fields[i], 64); err == nil && fields[1] == "FRONTEND" {
						says[columns[i]] += value
					}
				}
			}
			return says, nil
		},
		want: map[string]expectation{
			"promscope_haproxy_requests":     rate("req_tot"),
			"promscope_haproxy_errors":       rate("hrsp_5xx"),
			"promscope_haproxy_connections":  quotient(100, "CurrConns", "Maxconn", 2.01), // it is asked by a connection
			"promscope_haproxy_queued":       between(0, 0),
			"promscope_haproxy_servers_down": between(1, 1),
		},
		rows: map[string]string{"promscope_haproxy_version": firstMatch(t, `version (\S+)`, haproxy.Path, "-v")},
	}}
	if path := installed(t, "prometheus-haproxy-exporter", "prometheus-haproxy-exporter"); path != "" {
		exporter := start(t, path, "--web.listen-address=127.0.0.1:9101", "--haproxy.scrape-uri=http://127.0.0.1:8084/;csv")
		servers = append(servers, exporterOf(t, "HAProxy's exporter", exporter, "9101"))
	}
	return servers
}

func everyRedis(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, "redis-server", "redis-server"), installed(t, "prometheus-redis-exporter", "prometheus-redis-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	redis := start(t, path, "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--maxmemory", "10mb")
	awaitListener(t, "127.0.0.1:6379")
	conn, err := net.Dial("tcp", "127.0.0.1:6379")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	steadily(t, 20, func() error {
		_, err := fmt.Fprint(conn, "SET a 1\r\nGET a\r\nGET a\r\nGET a\r\nGET b\r\n")
		return err
	})
	exporter := start(t, exporterPath, "-web.listen-address=127.0.0.1:9121")
	return []server{{
		name: "Redis", topo: "Process", node: processNode(redis),
		ask: func() (map[string]float64, error) {
			conn, err := net.Dial("tcp", "127.0.0.1:6379")
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			if _, err := fmt.Fprint(conn, "INFO\r\nQUIT\r\n"); err != nil {
				return nil, err
			}
			info, err := io.ReadAll(conn)
			says := numbers(string(info), `(?m)^(\w+):(\d+)\r$`)
			says["asked"] = says["keyspace_hits"] + says["keyspace_misses"]
			return says, err
		},
		want: map[string]expectation{
			"promscope_redis_commands":    rate("total_commands_processed"),
			"promscope_redis_hits":        ratio(100, "keyspace_hits", "asked", 0),
			"promscope_redis_evicted":     between(0, 0),
			"promscope_redis_clients":     level(1, "connected_clients", 1),
			"promscope_redis_memory":      level(1, "used_memory", 0.1e6),
			"promscope_redis_memory_full": quotient(100, "used_memory", "maxmemory", 1),
		},
		rows: map[string]string{"promscope_redis_version": firstMatch(t, `v=(\S+)`, redis.Path, "--version") + " · master"},
	}, exporterOf(t, "Redis's exporter", exporter, "9121")}
}

func everyPostgres(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, "postgresql", "postgres"), installed(t, "prometheus-postgres-exporter", "prometheus-postgres-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	dir, as := daemonDir(t, "postgres")
	initdb := exec.Command(installed(t, "postgresql", "initdb"), "-D", dir, "--no-sync", "-A", "trust", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	cmd := exec.Command(path, "-D", dir, "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=20")
	cmd.SysProcAttr, cmd.Dir = as, dir
	postgres := startCommand(t, cmd)
	awaitListener(t, "127.0.0.1:5432")
	psql := []string{installed(t, "postgresql", "psql"), "-h", "127.0.0.1", "-U", "postgres", "-qAt"}
	eventually(t, 30*time.Second, "PostgreSQL", func() error { return exec.Command(psql[0], append(psql[1:], "-c", "select 1")...).Run() })
	// A backend tells once a second what it did, or at once if it is asked to. It tells of
	// no transaction before one has read a table.
	tell := "SELECT pg_stat_force_next_flush() FROM pg_class WHERE oid = 1259;"
	session := startSession(t, psql...)
	steadily(t, 100, session(tell))
	steadily(t, 10, session("BEGIN; "+tell+" ROLLBACK;"))
	if err := startSession(t, psql...)("BEGIN; SELECT 1;")(); err != nil {
		t.Fatal(err)
	}
	exporter := exec.Command(exporterPath, "--web.listen-address=127.0.0.1:9187")
	exporter.Env = append(os.Environ(), "DATA_SOURCE_NAME=postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable")
	const words = `select sum(xact_commit + xact_rollback) as transactions, sum(xact_rollback) as rollbacks, sum(blks_hit) as hit, sum(blks_hit + blks_read) as asked,
		sum(numbackends) - 1 as connections, (select extract(epoch from max(now() - xact_start)) from pg_stat_activity) as oldest from pg_stat_database`
	return []server{{
		name: "PostgreSQL", topo: "Process", node: processNode(postgres),
		ask: func() (map[string]float64, error) {
			out, err := exec.Command(psql[0], append(psql[1:], "-x", "-c", words)...).Output()
			return numbers(string(out), `(?m)^(\w+)\|([\d.]+)$`), err
		},
		want: map[string]expectation{
			"promscope_postgres_transactions":       rate("transactions"),
			"promscope_postgres_rollbacks":          rate("rollbacks"),
			"promscope_postgres_connections":        level(100.0/20, "connections", 5),
			"promscope_postgres_oldest_transaction": level(1, "oldest", 0),
			"promscope_postgres_buffer_hits":        ratio(100, "hit", "asked", 1),
		},
		rows: map[string]string{"promscope_postgres_version": firstMatch(t, `PostgreSQL\) (\S+)`, path, "--version")},
	}, exporterOf(t, "PostgreSQL's exporter", startCommand(t, exporter), "9187")}
}

func everyMariaDB(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, "mariadb-server", "mariadbd"), installed(t, "prometheus-mysqld-exporter", "prometheus-mysqld-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	dir := t.TempDir()
	mariadb := start(t, path, "--no-defaults", "--user=root", "--datadir="+dir, "--socket="+dir+"/sock", "--bind-address=127.0.0.1", "--skip-grant-tables",
		"--performance-schema=off", "--max-connections=20", "--long-query-time=0.05", "--innodb-flush-log-at-trx-commit=0")
	awaitListener(t, "127.0.0.1:3306")
	client := []string{installed(t, "mariadb-client", "mariadb"), "--no-defaults", "-h127.0.0.1", "-N", "-B"}
	if out, err := exec.Command(client[0], append(client[1:], "-e", "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY) ENGINE=InnoDB")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	steadily(t, 100, startSession(t, client...)("SELECT * FROM d.t WHERE a = 1;"))
	steadily(t, 4, startSession(t, client...)("SELECT SLEEP(0.06);"))
	exporter := exec.Command(exporterPath, "--web.listen-address=127.0.0.1:9104")
	exporter.Env = append(os.Environ(), "DATA_SOURCE_NAME=root@(127.0.0.1:3306)/")
	return []server{{
		name: "MariaDB", topo: "Process", node: processNode(mariadb),
		ask: func() (map[string]float64, error) {
			out, err := exec.Command(client[0], append(client[1:], "-e", "SHOW GLOBAL STATUS")...).Output()
			says := numbers(string(out), `(?m)^(\w+)\t(\d+)$`)
			says["in memory"] = says["Innodb_buffer_pool_read_requests"] - says["Innodb_buffer_pool_reads"]
			return says, err
		},
		want: map[string]expectation{
			"promscope_mysql_queries":     rate("Questions"),
			"promscope_mysql_slow":        rate("Slow_queries"),
			"promscope_mysql_connections": level(100.0/20, "Threads_connected", 5), // it is asked by a connection, too
			"promscope_mysql_running":     level(1, "Threads_running", 1),
			"promscope_mysql_buffer_hits": ratio(100, "in memory", "Innodb_buffer_pool_read_requests", 0.1),
		},
		rows: map[string]string{"promscope_mysql_version": firstMatch(t, `(\S+-MariaDB\S*)`, client[0], append(client[1:], "-e", "SELECT VERSION()")...)},
	}, exporterOf(t, "MariaDB's exporter", startCommand(t, exporter), "9104")}
}

func everyPushgateway(t *testing.T) []server {
	t.Helper()
	path := installed(t, "prometheus-pushgateway", "prometheus-pushgateway")
	if path == "" {
		return nil
	}
	p := start(t, path, "--web.listen-address=127.0.0.1:9091", "--persistence.file=") // Debian's keeps what others pushed
	awaitListener(t, "127.0.0.1:9091")
	push(t, "http://127.0.0.1:9091/metrics/job/node/instance/db7", stranger("db7"))
	return []server{goProgram("pushgateway", p, "http://127.0.0.1:9091/metrics")}
}

// exporterOf is what an exporter shows of itself.
func exporterOf(t *testing.T, name string, p *process, port string) server {
	t.Helper()
	awaitListener(t, "127.0.0.1:"+port)
	s := goProgram(name, p, "http://127.0.0.1:"+port+"/metrics")
	s.exporter = true
	return s
}

// goProgram is what a Go program shows of itself. Of goroutines and the heap only the
// program knows; both come and go.
func goProgram(name string, p *process, url string) server {
	version := "unknown"
	if info, err := buildinfo.ReadFile(p.Path); err == nil {
		version = info.GoVersion
	}
	return server{
		name: name, topo: "Process", node: processNode(p), program: true,
		ask: func() (map[string]float64, error) {
			_, body, err := get(context.Background(), url)
			if err != nil {
				return nil, err
			}
			says := numbers(body, `(?m)^(go_goroutines|go_memstats_heap_inuse_bytes) (\S+)$`)
			proc, err := procfs.NewProc(p.Process.Pid)
			if err != nil {
				return nil, err
			}
			fds, err := proc.FileDescriptorsLen()
			if err != nil {
				return nil, err
			}
			limits, err := proc.Limits()
			says["fds"], says["most fds"] = float64(fds), float64(limits.OpenFiles)
			return says, err
		},
		want: map[string]expectation{
			"promscope_go_goroutines":    level(1, "go_goroutines", 5),
			"promscope_go_heap":          {value: goHeap},
			"promscope_process_fds_used": {value: goDescriptors},
		},
		rows: map[string]string{"promscope_go_version": version},
	}
}

// goHeap allows for what becomes garbage within a second.
func goHeap(a account, _, to time.Time) (least, greatest float64) {
	before, after := a.around(to)
	x, y := before.word("go_memstats_heap_inuse_bytes"), after.word("go_memstats_heap_inuse_bytes")
	return min(x, y) / 2, max(x, y) * 2
}

// goDescriptors allows for connections that come and go.
func goDescriptors(a account, _, to time.Time) (least, greatest float64) {
	before, after := a.around(to)
	x, y, percent := before.word("fds"), after.word("fds"), 100/after.word("most fds")
	return (min(x, y) - 3) * percent, (max(x, y) + 3) * percent
}

// steadily does something so many times a second until the test ends. What is late is
// made up for.
func steadily(t *testing.T, perSecond int, do func() error) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	began := time.Now()
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(perSecond)))):
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
}

// request asks for a page, by a connection of its own that stays.
func request(t *testing.T, url string) func() error {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

// startSession starts a client that reads statements. What it returns makes of a
// statement what hands it over.
func startSession(t *testing.T, command ...string) func(statement string) func() error {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	startCommand(t, cmd)
	t.Cleanup(func() { stdin.Close() })
	return func(statement string) func() error {
		return func() error {
			_, err := io.WriteString(stdin, statement+"\n")
			return err
		}
	}
}

// askPage asks a page for the numbers that the groups of an expression name.
func askPage(url, expression string) func() (map[string]float64, error) {
	groups := regexp.MustCompile(expression)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func() (map[string]float64, error) {
		resp, err := client.Get(url)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		found := groups.FindStringSubmatch(string(body))
		if found == nil {
			return nil, fmt.Errorf("unexpected page:\n%s", body)
		}
		says := map[string]float64{}
		for i, name := range groups.SubexpNames()[1:] {
			if says[name], err = strconv.ParseFloat(found[i+1], 64); err != nil {
				return nil, err
			}
		}
		return says, nil
	}
}

// askSocket sends a command to a unix socket, and reads the answer to its end.
func askSocket(path, command string) (string, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// numbers returns the values of a text by name: the two groups of the expression.
func numbers(text, expression string) map[string]float64 {
	found := map[string]float64{}
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		if value, err := strconv.ParseFloat(match[2], 64); err == nil {
			found[match[1]] = value
		}
	}
	return found
}

// firstMatch runs a program, and returns the first group of the expression.
func firstMatch(t *testing.T, expression, path string, args ...string) string {
	t.Helper()
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(expression).FindStringSubmatch(string(out))
	if match == nil {
		t.Fatalf("no %s in %s", expression, out)
	}
	return match[1]
}

// daemonDir returns a directory of a user, and what runs a program as that user.
func daemonDir(t *testing.T, name string) (string, *syscall.SysProcAttr) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		unmet(t, "needs the user %s: %v", name, err)
	}
	uid, errUID := strconv.Atoi(account.Uid)
	gid, errGID := strconv.Atoi(account.Gid)
	dir := filepath.Join(t.TempDir(), name)
	err = errors.Join(errUID, errGID, os.Mkdir(dir, 0o700), os.Chown(dir, uid, gid), os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
