package config

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"

	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata/bad")

// Each file in testdata/bad is wrong in many ways, and the file beside it is
// what is said about it.
func TestBadConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, list := Load(path)
			if len(list) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			got := list.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is shown:\n%s", got)
			}
			golden := strings.TrimSuffix(path, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, list := Parse("testdata/test.yml", []byte(text))
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadOfNoFile(t *testing.T) {
	_, list := Load("testdata/absent.yml")
	want := "testdata/absent.yml: error: reading the configuration: no such file or directory"
	if diff := cmp.Diff(want, list.Error()); diff != "" {
		t.Error(diff)
	}
}

// To read a named pipe would wait for somebody who writes to it.
func TestLoadRefusesPipes(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "promscope.yml"), filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(file, []byte("rule_files: [rules.yml]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		file: pipe + ": error: reading rules: read " + pipe + ": it is not a regular file",
		pipe: pipe + ": error: reading the configuration: it is not a regular file",
		dir:  dir + ": error: reading the configuration: it is not a regular file",
	} {
		_, list := Load(name)
		if diff := cmp.Diff(want, list.Error()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestDefault(t *testing.T) {
	c, list := Default()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	var presets []string
	for _, p := range c.Presets {
		if !p.Default {
			t.Errorf("nobody asked for the preset %s", p.Name)
		}
		presets = append(presets, p.Name)
	}
	if diff := cmp.Diff(mapping.DefaultPresets(), presets); diff != "" {
		t.Errorf("presets: %s", diff)
	}
	if len(c.Jobs) != 1 || len(c.Jobs[0].Discovery.Listeners) != 1 {
		t.Fatalf("jobs: %+v", c.Jobs)
	}
	listeners := c.Jobs[0].Discovery.Listeners[0]
	asks := listeners.Ports.Contains
	if !asks(9090) || !asks(9999) || !asks(2019) || asks(8080) || listeners.ExcludePorts != nil || listeners.Path != "" || c.Jobs[0].Scrape.MetricsPath != "/metrics" {
		t.Errorf("listeners: %+v", listeners)
	}
	if c.Scope.PluginID != "promscope" || c.Scope.Samples != 15 || c.Scope.MaxAge != time.Minute {
		t.Errorf("scope: %+v", c.Scope)
	}
	if len(c.Collectors) == 0 || c.Collectors[0].Name != "iowait" || !c.Collectors[0].Enabled || c.Collectors[0].Interval != time.Second {
		t.Errorf("collectors: %+v", c.Collectors)
	}
}

// A list is all presets. A mapping adds to the default ones and takes from them.
func TestPresets(t *testing.T) {
	defaults, _ := Default()
	for text, test := range map[string]struct {
		asked, others []string
		rendered      string
	}{
		"presets: []":             {nil, nil, "presets: []"},
		"presets: [http, iowait]": {[]string{"http", "iowait"}, nil, "presets: [http, iowait]"},
		"presets: {include: [process_exporter]}": {
			[]string{"process_exporter"}, mapping.DefaultPresets(), "presets: {include: [process_exporter]}"},
		"presets: {include: [http, http_handlers], exclude: [iowait, cadvisor]}": {
			[]string{"http", "http_handlers"}, without(mapping.DefaultPresets(), "http", "iowait", "cadvisor"),
			"presets: {include: [http, http_handlers], exclude: [iowait, cadvisor]}"},
	} {
		c := mustParse(t, text)
		var asked, others []string
		for _, p := range c.Presets {
			if p.Default {
				others = append(others, p.Name)
			} else {
				asked = append(asked, p.Name)
			}
		}
		if diff := cmp.Diff([][]string{test.asked, test.others}, [][]string{asked, others}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if !strings.Contains(c.String(), "\n"+test.rendered+"\n") {
			t.Errorf("%s is rendered as\n%s", text, c)
		}
		for _, r := range c.Rules.Rules() {
			if r.Default != slices.Contains(others, r.Preset) {
				t.Errorf("%s: %s of %s has default %v", text, r, r.Preset, r.Default)
			}
		}
	}
	if !strings.Contains(defaults.String(), "\npresets: {}\n") {
		t.Errorf("nothing said is rendered as\n%s", defaults)
	}
}

func without(names []string, gone ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(gone, name) })
}

func TestWhatIsNotSaidKeepsItsDefault(t *testing.T) {
	def, _ := Default()
	for _, text := range []string{"", "scope:\n", "scrape_configs:\npresets:\nrules:\nrule_files:\n", "collectors: {http: {enabled: true}, iowait: }\n"} {
		c := mustParse(t, text)
		if c.String() != def.String() {
			t.Errorf("%q: %s", text, cmp.Diff(def.String(), c.String()))
		}
	}
	c := mustParse(t, "scrape_configs: []\npresets: []\n")
	if len(c.Jobs)+len(c.Presets)+len(c.Rules.Rules()) != 0 {
		t.Errorf("empty lists are not empty: %s", c)
	}
}

func TestPrometheusBlocksWork(t *testing.T) {
	c, list := Load("testdata/good/prometheus.yml")
	if len(list) != 0 {
		t.Fatal(list)
	}
	if len(c.Jobs) != 3 || len(c.ScrapeJobs()) != 3 || len(c.DiscoveryJobs()) != 3 {
		t.Fatalf("%d jobs", len(c.Jobs))
	}
	node, secure := c.Jobs[1].Scrape, c.Jobs[2]
	if time.Duration(node.ScrapeTimeout) != 8*time.Second || node.Params["collect[]"][1] != "meminfo" {
		t.Errorf("node: %+v", node)
	}
	if time.Duration(secure.Scrape.ScrapeTimeout) != 10*time.Second {
		t.Errorf("the timeout is %s, Prometheus's is 10s", secure.Scrape.ScrapeTimeout)
	}

	// Relative files are relative to the configuration.
	const dir = "testdata/good/"
	files := secure.Discovery.Configs[0].(*file.SDConfig)
	sd := secure.Discovery.Configs[1].(*http.SDConfig)
	for _, path := range []string{secure.Scrape.HTTPClientConfig.TLSConfig.CAFile, sd.HTTPClientConfig.TLSConfig.CAFile} {
		if path != dir+"tls/ca.pem" {
			t.Errorf("ca_file is %q", path)
		}
	}
	if files.Files[0] != dir+"targets/*.yml" {
		t.Errorf("file_sd_configs has %q", files.Files)
	}
	if rules := c.Rules.Rules(); rules[0].Metric != "file_rule" || rules[0].Preset != "" || rules[len(rules)-1].Preset == "" {
		t.Errorf("rules of files do not come before presets: %v", rules)
	}
}

func TestRulesComeInTheirOrder(t *testing.T) {
	c := mustParse(t, `
rule_files: [good/rules/*.yml, good/rules/a.yml]
rules:
  - {metric: own, label: Own, expr: up, node: host}
  - {metric: promscope_cpu_iowait, label: CPU iowait, expr: up, node: host}
`)
	var got []string
	for _, r := range c.Rules.Rules() {
		got = append(got, r.Preset+"/"+r.Metric)
	}
	want := []string{"/own", "/promscope_cpu_iowait", "/file_rule"}
	if diff := cmp.Diff(want, got[:3]); diff != "" {
		t.Error(diff)
	}
	for _, name := range got[3:] {
		if strings.HasPrefix(name, "/") || name == "iowait/promscope_cpu_iowait" {
			t.Errorf("%s after the configuration's rules", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yml", reference} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, path := range files {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		c, list := Parse("fuzz.yml", content)
		if (c == nil) != (list.Err() != nil) {
			t.Fatalf("config %v with %v", c, list)
		}
		if c == nil {
			return
		}
		// What it says of itself can be read again.
		text, err := c.redacted()
		if err != nil {
			t.Fatal(err)
		}
		var doc *document.Document
		if doc, err = document.Parse("redacted", text); err != nil || doc.Root == nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	})
}

func TestHostFlagIsChecked(t *testing.T) {
	_, list := Flags{Host: "a;b"}.Load()
	if err := list.Err(); err == nil || !strings.Contains(err.Error(), "--scope.host: error: \"a;b\" must have no space and no semicolon") {
		t.Errorf("error: %v", err)
	}
}
