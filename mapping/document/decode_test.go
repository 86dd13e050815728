package document

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"
)

// job has a field of every kind that configurations are made of.
type job struct {
	Name     string                  `yaml:"job_name"`
	Interval model.Duration          `yaml:"scrape_interval"`
	Wait     time.Duration           `yaml:"wait"`
	Limit    uint                    `yaml:"limit"`
	Ratio    float64                 `yaml:"ratio"`
	Honor    bool                    `yaml:"honor_labels"`
	Params   map[string][]string     `yaml:"params"`
	Static   []*targetgroup.Group    `yaml:"static_configs"`
	Files    []*file.SDConfig        `yaml:"file_sd_configs"`
	HTTP     []*http.SDConfig        `yaml:"http_sd_configs"`
	Relabel  []*relabel.Config       `yaml:"relabel_configs"`
	Client   config.HTTPClientConfig `yaml:",inline"`
	Rules    yaml.Node               `yaml:"rules"`
	Nested   *struct {
		Port int `yaml:"port"`
	} `yaml:"nested"`
}

func decodeJob(t testing.TB, text string) (job, *Document, List) {
	t.Helper()
	doc, err := Parse("p.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var j job
	return j, doc, doc.Decode(doc.Root, &j)
}

func TestDecode(t *testing.T) {
	doc, err := Parse("p.yml", []byte(`
defaults: &defaults
  honor_labels: yes
  limit: 7
job:
  <<: *defaults
  limit: 8
  job_name: node
  scrape_interval: 15s
  wait: 2s
  ratio: 1e3
  params: {"collect[]": [cpu, meminfo]}
  static_configs: [{targets: ["localhost:9100"], labels: {env: prod}}]
  file_sd_configs: [{files: ["targets/*.json"]}]
  http_sd_configs: [{url: "http://sd/targets", basic_auth: {username: u, password: p}}]
  relabel_configs: [{source_labels: [__address__], regex: '(.*):.*', target_label: host}]
  basic_auth: {username: u, password: p}
  tls_config: {ca_file: ca.pem}
  nested: {port: 9100}
  rules:
    - metric: x
`))
	if err != nil {
		t.Fatal(err)
	}
	var j job
	if list := doc.Decode(Field(doc.Root, "job"), &j); list != nil {
		t.Fatal(list)
	}
	if j.Name != "node" || time.Duration(j.Interval) != 15*time.Second || j.Wait != 2*time.Second {
		t.Errorf("scalars: %+v", j)
	}
	if !j.Honor || j.Limit != 8 || j.Ratio != 1000 || j.Nested.Port != 9100 {
		t.Errorf("merge keys or scalars: %+v", j)
	}
	if got := j.Params["collect[]"]; !cmp.Equal(got, []string{"cpu", "meminfo"}) {
		t.Errorf("params: %q", got)
	}
	if g := j.Static[0]; g.Targets[0][model.AddressLabel] != "localhost:9100" || g.Labels["env"] != "prod" {
		t.Errorf("static_configs: %v", g)
	}
	if f := j.Files[0]; f.Files[0] != "targets/*.json" || time.Duration(f.RefreshInterval) != 5*time.Minute {
		t.Errorf("file_sd_configs without its default: %+v", f)
	}
	if h := j.HTTP[0]; h.HTTPClientConfig.BasicAuth.Password != "p" || !h.HTTPClientConfig.FollowRedirects {
		t.Errorf("http_sd_configs: %+v", h)
	}
	if r := j.Relabel[0]; r.TargetLabel != "host" || r.Action != relabel.Replace {
		t.Errorf("relabel_configs: %+v", r)
	}
	if j.Client.BasicAuth.Username != "u" || j.Client.TLSConfig.CAFile != "ca.pem" {
		t.Errorf("inlined client: %+v", j.Client)
	}
	if len(j.Rules.Content) != 1 || j.Rules.Content[0].Line != 21 {
		t.Errorf("a node kept as it is: %+v", j.Rules)
	}
}

func TestDecodeKeepsDefaults(t *testing.T) {
	doc, err := Parse("p.yml", []byte("job_name:\nwait: ~\nparams:\n"))
	if err != nil {
		t.Fatal(err)
	}
	j := job{Name: "default", Wait: time.Second, Limit: 3, Params: map[string][]string{"a": nil}}
	if list := doc.Decode(doc.Root, &j); list != nil {
		t.Fatal(list)
	}
	if j.Name != "default" || j.Wait != time.Second || j.Limit != 3 || j.Params != nil {
		t.Errorf("got %+v", j)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"all at once", "job_nam: x\nlimit: -1\nscrape_interval: 5x\nhonor_labels: maybe\nratio: [1]\n", `
p.yml:1:1: error: unknown key "job_nam"
    1 | job_nam: x
      | ^
did you mean "job_name"?
p.yml:2:8: error: expected an integer, not negative, found "-1"
    2 | limit: -1
      |        ^
p.yml:3:18: error: unknown unit "x" in duration "5x"
    3 | scrape_interval: 5x
      |                  ^
p.yml:4:15: error: expected true or false, found "maybe"
    4 | honor_labels: maybe
      |               ^
p.yml:5:8: error: expected a number, found a list
    5 | ratio: [1]
      |        ^`},
		{"within types that decode themselves", "static_configs:\n  - targets: [a]\n    label: {x: y}\n  - targets: a\nrelabel_configs:\n  - action: replce\n    regexp: (\n  - regex: (\n", `
p.yml:3:5: error: unknown key "label"
    3 |     label: {x: y}
      |     ^
did you mean "labels"?
p.yml:4:14: error: expected a list, found a string
    4 |   - targets: a
      |              ^
p.yml:6:13: error: unknown relabel action "replce"
    6 |   - action: replce
      |             ^
p.yml:7:5: error: unknown key "regexp"
    7 |     regexp: (
      |     ^
did you mean "regex"?
p.yml:8:12: error: error parsing regexp: missing closing ): ` + "`^(?s:()$`" + `
    8 |   - regex: (
      |            ^`},
		{"what a method finds is blamed on the key it names", "file_sd_configs:\n  - refresh_interval: 1m\n    files: [a.txt]\nhttp_sd_configs:\n  - url: ftp://x\n  - url: http://x\n    basic_auth: {username: u}\n    oauth2: {client_id: x, token_url: http://x}\n", `
p.yml:3:13: error: path name "a.txt" is not valid for file discovery
    3 |     files: [a.txt]
      |             ^
p.yml:5:5: error: URL scheme must be 'http' or 'https'
    5 |   - url: ftp://x
      |     ^
p.yml:8:5: error: at most one of basic_auth, oauth2 & authorization must be configured
    8 |     oauth2: {client_id: x, token_url: http://x}
      |     ^`},
		{"repeated keys", "limit: 1\nlimit: 2\nparams:\n  a: []\n  a: [x]\n", `
p.yml:2:1: error: key "limit" is already set in line 1
    2 | limit: 2
      | ^
p.yml:5:3: error: key "a" is already set in line 4
    5 |   a: [x]
      |   ^`},
		{"wrong kinds", "static_configs: {targets: [a]}\nparams: [a]\nnested: 5\njob_name: {a: b}\nrelabel_configs: [~]\n", `
p.yml:1:17: error: expected a list, found a mapping
    1 | static_configs: {targets: [a]}
      |                 ^
p.yml:2:9: error: expected a mapping, found a list
    2 | params: [a]
      |         ^
p.yml:3:9: error: expected a mapping, found a number
    3 | nested: 5
      |         ^
p.yml:4:11: error: expected a string, found a mapping
    4 | job_name: {a: b}
      |           ^
p.yml:5:19: error: empty list item
    5 | relabel_configs: [~]
      |                   ^`},
		{"an alias of the wrong type", "params:\n  a: &p [b]\nlimit: *p\n", `
p.yml:2:6: error: expected an integer, not negative, found a list
    2 |   a: &p [b]
      |      ^`},
		{"one mistake under an anchor, decoded twice", "static_configs:\n  - &group\n    targts: [a]\n  - *group\n", `
p.yml:3:5: error: unknown key "targts"
    3 |     targts: [a]
      |     ^
did you mean "targets"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, list := decodeJob(t, tt.text)
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), list.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// tree decodes to any depth, so that an anchor can contain itself.
type tree struct {
	Kids []tree `yaml:"kids"`
}

func TestDecodeEndlessAliases(t *testing.T) {
	doc, err := Parse("p.yml", []byte("kids:\n  - &a {kids: [*a]}\n"))
	if err == nil {
		var out tree
		err = doc.Decode(doc.Root, &out)
	}
	if err == nil || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("got %v", err)
	}
}

func TestDecodeAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("kids:\n- &l0 {kids: []}\n")
	for i := range 9 {
		b.WriteString("- &l" + string(rune('1'+i)) + " {kids: [")
		b.WriteString(strings.Repeat("*l"+string(rune('0'+i))+", ", 10) + "]}\n")
	}
	doc, err := Parse("p.yml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	var out tree
	list := doc.Decode(doc.Root, &out)
	if len(list) != 1 || !strings.Contains(list[0].Message, "aliases expand") {
		t.Errorf("got %v", list)
	}
}

func TestDecodeWithExplainsUnknownKeys(t *testing.T) {
	doc, err := Parse("p.yml", []byte("job_name: x\nec2_sd_configs: []\nlimt: 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	var j job
	list := doc.DecodeWith(doc.Root, &j, func(owner reflect.Type, key string) (string, string, bool) {
		return owner.Name() + "s find no " + key, "use file_sd_configs", key == "ec2_sd_configs"
	})
	want := `p.yml:2:1: error: jobs find no ec2_sd_configs
    2 | ec2_sd_configs: []
      | ^
use file_sd_configs
p.yml:3:1: error: unknown key "limt"
    3 | limt: 3
      | ^
did you mean "limit"?`
	if diff := cmp.Diff(want, list.Error()); diff != "" {
		t.Error(diff)
	}
}
