package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Everything secret in the files is hunter2.
func TestSecretsAreRedacted(t *testing.T) {
	c, list := Load("testdata/good/prometheus.yml")
	if len(list) != 0 {
		t.Fatal(list)
	}
	content, err := os.ReadFile("testdata/good/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(content), "hunter2") < 6 {
		t.Fatal("there are no secrets to hide")
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("loaded", "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("loaded", "config", c)
	text, err := c.redacted()
	if err != nil {
		t.Fatal(err)
	}
	for form, shown := range map[string]string{
		"redacted": string(text), "log": log.String(),
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c), "String": c.String(),
	} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("%s shows a secret:\n%s", form, shown)
		}
	}
	for _, visible := range []string{"username: admin", "ca_file: testdata/good/tls/ca.pem", "https://user:xxxxx@sd/targets"} {
		if !strings.Contains(string(text), visible) {
			t.Errorf("%q is not shown:\n%s", visible, text)
		}
	}
}

// What is shown is a configuration that means the same.
func TestRedactedLoadsAgain(t *testing.T) {
	for _, path := range []string{"", "testdata/good/prometheus.yml", reference} {
		c, list := Load(path)
		if path == "" {
			c, list = Default()
		}
		if err := list.Err(); err != nil {
			t.Fatal(err)
		}
		again, list := Parse("", []byte(c.String()))
		if err := list.Err(); err != nil {
			t.Fatalf("%s:\n%s\n%s", path, err, c)
		}
		if diff := cmp.Diff(withoutComments(c.String()), withoutComments(again.String())); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func withoutComments(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimLeft(line, " -"), "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
