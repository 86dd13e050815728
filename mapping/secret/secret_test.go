package secret

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

func TestName(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "Passwd": true, "passphrase": true, "pwd": true, "client_secret": true, "token": true, "access_token": true,
		"credentials": true, "cookie": true, "auth": true, "X-Signature": true, "sig": true,
		"apikey": true, "api_key": true, "X-Api-Key": true, "key": true, "private_key": true,
		"password_file": false, "secret_ref": false, "token_url": false, "cert_file": false, "signature_algorithm": false,
		"keys": false, "monkey": false, "keyboard": false, "design": false, "user": false, "module": false, "": false,
	} {
		if got := Name(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"plain":                           "plain",
		"x?y":                             "x?y",
		"a@b http://host/":                "a@b http://host/",
		"http://user:pw@host/x":           "http://user:xxxxx@host/x",
		"http://token@host":               "http://xxxxx@host",
		"http://host/x?token=abc&y=1":     "http://host/x?token=<secret>&y=1",
		"http://host/x?y=1&api_key=abc z": "http://host/x?y=1&api_key=<secret> z",
		"http://host/x?my+token=abc":      "http://host/x?my+token=<secret>",
		"http://host/x?token=":            "http://host/x?token=<secret>",
		`Get "http://u:p@h": refused`:     `Get "http://u:xxxxx@h": refused`,
		"http://u:p@a http://v:q@b":       "http://u:xxxxx@a http://v:xxxxx@b",
		"sum(a) by (b) > 1 ? token=":      "sum(a) by (b) > 1 ? token=",
		"http://u:p@h/?pwd=x#y":           "http://u:xxxxx@h/?pwd=<secret>#y",
	} {
		got := Text(text)
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		if again := Text(got); again != got {
			t.Errorf("%s became %s, then %s", text, got, again)
		}
	}
}

func TestUserInfo(t *testing.T) {
	for text, want := range map[string]string{
		"http://scope:hunter2@10.0.0.1:9100/metrics":                   "http://scope:xxxxx@10.0.0.1:9100/metrics",
		`Get "https://hunter2@[::1]:9100/x?y=z": EOF`:                  `Get "https://xxxxx@[::1]:9100/x?y=z": EOF`,
		"http://a:hunter2'!$&()*+,;=@host/ and http://b:hunter2@host/": "http://a:xxxxx@host/ and http://b:xxxxx@host/",
		"http://scope:x@hunter2@host/":                                 "http://scope:xxxxx@host/",
		"http://hunter2@x:y@host/":                                     "http://xxxxx@host/",
		// What people forget to escape.
		"http://u:p@ss/hunter2@proxy/": "http://u:xxxxx@proxy/",
		"http://u:p/hunter2@proxy/":    "http://u:xxxxx@proxy/",
		"http://u:p#hunter2@proxy/":    "http://u:xxxxx@proxy/",
		"http://u:p?hunter2@proxy/":    "http://u:xxxxx@proxy/",
		// As in query strings, in HTML and in JSON.
		"?q=http%3A%2F%2Fscope%3Ahunter2%40host%2F&r=x%3a%2f%2fa%40b": "?q=http%3A%2F%2Fscope%3Axxxxx%40host%2F&r=x%3a%2f%2fxxxxx%40b",
		"?q=http%3A%2F%2Fhost&r=a%40b":                                "?q=http%3A%2F%2Fhost&r=a%40b",
		"http%3A%2F%2Fu%3Aa%2Fhunter2%40host":                         "http%3A%2F%2Fu%3Axxxxx%40host",
		"http://a&#39;hunter2@host/":                                  "http://xxxxx@host/",
		`"http://a\u0026hunter2@host\n"`:                              `"http://xxxxx@host\n"`,
		"http://tok%2Fen@host/":                                       "http://xxxxx@host/",
	} {
		if got := string(UserInfo([]byte(text))); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{
		"http://host/path@2x.png", "http://host:80/?user=a@b", "http://[::1]:9100/a@b", "mailto:a@b", "a://", "://@", "%3a%2f%2fhost%2fx%40y",
		"http%3A%2F%2Fhost%3A80%2F%3Fuser%3Da%40b", "100%", "http://host and a@b", `"http://host" "a@b"`, "<a>http://host</a> a@b", "",
	} {
		if got := string(UserInfo([]byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("http://a:b@c/%3A%2F%2Fd%40e?token=x")
	f.Fuzz(func(t *testing.T, text string) {
		once := Text(text)
		if twice := Text(once); twice != once {
			t.Errorf("%q became %q, then %q", text, once, twice)
		}
	})
}

func TestLabels(t *testing.T) {
	got := Labels(labels.FromStrings(
		"__address__", "u:p@h:1", "instance", "u:p@h:2", "__param_token", "t", "__param_module", "m", "__meta_url", "http://u:p@h/", "key", "v", "mail", "a:b@c",
	))
	want := map[string]string{
		"__address__": "h:1", "instance": "h:2", "__param_token": "<secret>", "__param_module": "m", "__meta_url": "http://u:xxxxx@h/", "key": "v", "mail": "a:b@c",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
