package config

import (
	"os"
	"path/filepath"
	"testing"
)

// A configuration that was just loaded needs no reload, one whose files have changed does.
func TestChecksum(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rule = "rules: [{metric: load, label: Load, expr: node_load1, node: host}]\n"
	write("promscope.yml", "rule_files: [b.yml, '[ab].yml', none.yml]\n")
	write("a.yml", "rules: []\n")
	write("b.yml", rule)
	c, list := Load(filepath.Join(dir, "promscope.yml"))
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	loaded := c.LoadedChecksum()
	if c.Checksum() != loaded {
		t.Error("it has changed although no file has")
	}
	for name, text := range map[string]string{"a.yml": "# \n", "b.yml": "", "none.yml": "", "promscope.yml": ""} {
		before := c.Checksum()
		write(name, text)
		if after := c.Checksum(); after == before || after == loaded {
			t.Errorf("it has not changed although %s has", name)
		}
	}
	if c.LoadedChecksum() != loaded {
		t.Error("what was loaded has changed")
	}
	if c, _ := Default(); c.Checksum() != c.LoadedChecksum() {
		t.Error("the default configuration has changed")
	}
}
