package config

import "github.com/promscope/promscope/mapping/document"

// Flags are what the command line says of the configuration. Where they are not
// empty, they win over it.
type Flags struct {
	File        string // empty for the default configuration
	PluginsRoot string
	PluginID    string
	Host        string
}

// Load loads the configuration that the flags name and puts the flags over it. The
// list holds all errors and warnings; with an error the config is nil.
func (f Flags) Load() (*Config, document.List) {
	load := Default
	if f.File != "" {
		load = func() (*Config, document.List) { return Load(f.File) }
	}
	cfg, list := load()
	if err := checkHost(f.Host); err != nil {
		list = append(list, document.Diagnostic{Position: document.Position{File: "--scope.host"}, Message: err.Error()})
	}
	if list.Err() != nil {
		return nil, list
	}
	override(&cfg.Scope.PluginsRoot, f.PluginsRoot)
	override(&cfg.Scope.PluginID, f.PluginID)
	override(&cfg.Scope.Host, f.Host)
	return cfg, list
}

func override(value *string, flag string) {
	if flag != "" {
		*value = flag
	}
}
