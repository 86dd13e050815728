package config

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
)

// Checksum is of the configuration file and of the rule files that it names: when these
// change, the configuration should be loaded anew. Files that cannot be read count as
// empty. Keys and certificates are read anew when they are used.
func (c *Config) Checksum() [sha256.Size]byte {
	files := []string{c.File}
	for _, pattern := range c.rulePatterns {
		matches, _ := filepath.Glob(pattern) // it was checked
		files = append(files, matches...)
	}
	sum := sha256.New()
	slices.Sort(files[1:])
	for _, name := range files {
		content, _ := os.ReadFile(name) // the next load says what is wrong
		of := sha256.Sum256(content)
		sum.Write([]byte(name))
		sum.Write(of[:])
	}
	return [sha256.Size]byte(sum.Sum(nil))
}
