package document

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every line of a configuration may be printed by an error on it.
func TestSecretsAreNotShown(t *testing.T) {
	for _, text := range []string{
		"basic_auth: {usrname: u, password: hunter2}",
		"basic_auth: {usrname: u, pasword: hunter2, x: 1}",
		"bearer_token:   hunter2",
		"'client_secret': hunter2",
		`"credentials" : "a, hunter2"`,
		"params: {access_token: [hunter2]}",
		"tls_config:\n  key: hunter2",
		"key: |\n  BEGIN\n\n    hunter2",
		"headers:\n  X:\n    secrets:\n    - hunter2\n    - two hunter2",
		"proxy_url: http://u:hunter2@proxy/",
		"proxy_url: http://u:p@ss/hunter2@proxy/",
		"authorization: Bearer hunter2",
		"basic_auth: 'u:hunter2'",
		"http_headers:\n  Authorization: Bearer hunter2\n  X: hunter2",
		"http_headers: {X: {values: [hunter2]}}",
		"X-Api-Key: hunter2",
		"password: &p hunter2",
		"password: !!str hunter2",
		"password: #hunter2",
		`{"basic_auth":{"username":"u","password":"hunter2"}}`,
		"secret: >-\n  folded\n  hunter2",
	} {
		doc := &Document{Name: "p.yml", lines: splitLines(text)}
		for i := range doc.lines {
			got := doc.at(Position{Line: i + 1, Column: 1}, "bad value of http://u:hunter2@proxy/").Error()
			if strings.Contains(got, "hunter2") {
				t.Errorf("%q is shown:\n%s", text, got)
			}
		}
	}
}

func TestWhatIsNoSecretIsShown(t *testing.T) {
	for _, text := range []string{
		"password_file: visible",
		"token_url: visible",
		"label: visible",
		"# the password: nothing\nlabel: visible",
		"basic_auth:\n  password: x\nscope:\n  host: visible",
		"secrets: [a]\nhost: visible",
		"authorization: {type: visible}",
		"http_headers:\n  X:\n    files: [visible]",
		"authorization:\n  type: visible",
	} {
		doc := &Document{Name: "p.yml", lines: splitLines(text)}
		if got := doc.at(Position{Line: len(doc.lines), Column: 1}, "message").Error(); !strings.Contains(got, "visible") {
			t.Errorf("%q is masked:\n%s", text, got)
		}
	}
}

func TestCaretBesideMask(t *testing.T) {
	for _, tt := range []struct{ text, at, shown, shownAt string }{
		{"{usr: u, password: hunter2}", "usr", "{usr: u, password: <secret>", "usr"},
		{"{password: hunter2, usr: u}", "usr", "{password: <secret>", "<secret>"},
		{"url: http://u:hunter2@host, x: y", "x:", "url: http://u:xxxxx@host, x: y", "x:"},
		{"url: http://u:hunter2@host, x: y", "ter2", "url: http://u:xxxxx@host, x: y", "xxxxx"},
	} {
		doc := &Document{Name: "p.yml", lines: []string{tt.text}}
		got := doc.at(Position{Line: 1, Column: strings.Index(tt.text, tt.at) + 1}, "m").Error()
		want := tt.shown + "\n      | " + strings.Repeat(" ", strings.Index(tt.shown, tt.shownAt)) + "^"
		if !strings.HasSuffix(got, want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	doc, err := Parse("p.yml", []byte(`
basic_auth: {username: visible, password: hunter2}
authorization: {type: visible, credentials: hunter2}
http_headers: {X-Visible: {values: [hunter2], files: [f]}}
params: {token: [hunter2], q: [visible]}
secrets: [hunter2, hunter2]
proxy_url: http://visible:hunter2@proxy
password_file: visible
token: ""
`))
	if err != nil {
		t.Fatal(err)
	}
	Redact(doc.Root)
	out, err := yaml.Marshal(doc.Root)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(out); strings.Contains(text, "hunter2") || strings.Count(strings.ToLower(text), "visible") != 6 {
		t.Errorf("got\n%s", text)
	}
}
