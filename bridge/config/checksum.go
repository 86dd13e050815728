package config

import (
	"crypto/sha256"
	"path/filepath"
	"slices"

	"github.com/promscope/promscope/mapping/document"
)

// A Checksum is of the configuration file and of the rule files that it names: when these
// change, the configuration should be loaded anew. Files that cannot be read count as
// empty. Keys and certificates are read anew when they are used.
type Checksum [sha256.Size]byte

// LoadedChecksum returns the checksum of what the files had in them when the configuration
// was loaded.
func (c *Config) LoadedChecksum() Checksum { return c.loaded }

// Checksum returns the checksum of what the files have in them now.
func (c *Config) Checksum() Checksum {
	content, _ := document.ReadFile(c.File) // the next load says what is wrong
	var rules []string
	for _, pattern := range c.rulePatterns {
		matches, _ := filepath.Glob(pattern) // it was checked
		rules = append(rules, matches...)
	}
	return checksum(c.File, content, rules)
}

// checksum is that of a configuration file that has been read, and of rule files.
func checksum(file string, content []byte, rules []string) Checksum {
	sum := sha256.New()
	add := func(name string, content []byte) {
		of := sha256.Sum256(content)
		sum.Write([]byte(name))
		sum.Write(of[:])
	}
	add(file, content)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(rules))) {
		content, _ := document.ReadFile(name) // as above
		add(name, content)
	}
	return Checksum(sum.Sum(nil))
}
