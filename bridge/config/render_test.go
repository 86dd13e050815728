package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape/job"
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
	for _, path := range []string{"", "testdata/good/prometheus.yml", "testdata/good/rules.yml", "testdata/good/zeros.yml", reference} {
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
		same := c.Rules.Same(again.Rules)
		for i, r := range c.Rules.Rules() {
			if j, found := same[i]; !found || again.Rules.Rules()[j].Priority != r.Priority {
				t.Errorf("%s: %s means something else in\n%s", path, r, c)
			}
		}
		if had, has := len(c.Rules.Rules()), len(again.Rules.Rules()); had != has {
			t.Errorf("%s: of %d rules there are %d", path, had, has)
		}
		if strings.Contains(c.String(), "!!") {
			t.Errorf("%s is rendered with types:\n%s", path, c)
		}
		if diff := cmp.Diff(c.Global, again.Global); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		for i, job := range again.ScrapeJobs() {
			if diff := cmp.Diff(c.Jobs[i].Scrape, job, withoutSecrets()); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
		if diff := cmp.Diff(withoutComments(c.String()), withoutComments(again.String())); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// withoutSecrets compares jobs but for what may have secrets in it.
func withoutSecrets() cmp.Option {
	return cmp.Options{
		cmpopts.IgnoreFields(job.Config{}, "HTTPClientConfig", "Params"), cmpopts.IgnoreUnexported(job.Config{}),
		cmp.Comparer(func(a, b relabel.Regexp) bool { return a.String() == b.String() }),
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
