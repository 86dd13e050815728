package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

// fileKeys are the keys of a job whose values are names of files.
func fileKeys() []string {
	return []string{
		"ca_file", "cert_file", "key_file", "credentials_file", "bearer_token_file", "username_file", "password_file",
		"client_secret_file", "client_certificate_key_file",
	}
}

// checkFiles looks at the files that a job names. One that is not there now may
// be there when it is needed, so that it is but a warning.
func (l *loader) checkFiles(job *yaml.Node) {
	for i := 0; i+1 < len(job.Content); i += 2 {
		key, value := job.Content[i].Value, document.Resolve(job.Content[i+1])
		switch {
		case key == "params" || key == "static_configs" || strings.HasSuffix(key, "relabel_configs"):
			// whatever stands there is no file's name
		case slices.Contains(fileKeys(), key):
			l.checkFile(value)
		case key == "files" && value.Kind == yaml.SequenceNode:
			for _, item := range value.Content {
				l.checkPattern(document.Resolve(item))
			}
		case strings.HasSuffix(key, "_ref"):
			l.report(l.doc.Errorf(job.Content[i], "%s is not supported here", key).WithHint(noRefs))
		case value.Kind == yaml.MappingNode:
			l.checkFiles(value)
		case value.Kind == yaml.SequenceNode:
			for _, item := range value.Content {
				if item = document.Resolve(item); item.Kind == yaml.MappingNode {
					l.checkFiles(item)
				}
			}
		}
	}
}

func (l *loader) checkFile(name *yaml.Node) {
	if name.Value == "" {
		return
	}
	if _, err := os.Stat(l.path(name.Value)); err != nil {
		l.report(l.doc.Warnf(name, "the file %q cannot be read", name.Value).WithHint("%s", err))
	}
}

// checkPattern looks at a pattern of file_sd_configs, or a file of a header.
func (l *loader) checkPattern(pattern *yaml.Node) {
	matches, err := filepath.Glob(l.path(pattern.Value))
	if err == nil && len(matches) == 0 {
		l.report(l.doc.Warnf(pattern, "no file matches %q", pattern.Value).
			WithHint("looked for %s", l.path(pattern.Value)))
	}
}
