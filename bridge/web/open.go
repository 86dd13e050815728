package web

import (
	"log/slog"
	"net"
	"os"

	"go.yaml.in/yaml/v3"
)

// protection is what matters here of exporter-toolkit's web configuration file.
type protection struct {
	TLS *struct {
		ClientAuth string `yaml:"client_auth_type"`
	} `yaml:"tls_server_config"`
	Users map[string]string `yaml:"basic_auth_users"`
}

// missing says what a server lacks that other machines reach; empty if nothing.
func (p protection) missing() string {
	password := len(p.Users) > 0 || (p.TLS != nil && p.TLS.ClientAuth == "RequireAndVerifyClientCert")
	switch {
	case p.TLS == nil && !password:
		return "TLS and a password"
	case p.TLS == nil:
		return "TLS"
	case !password:
		return "a password"
	}
	return ""
}

// warnOpen says so where other machines reach the server unhindered. The pages show
// command lines, addresses and values; who reaches it may have promscope ask targets.
func warnOpen(address net.Addr, configFile string, logger *slog.Logger) {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return
	}
	var p protection
	if configFile != "" {
		// The toolkit has read the file and complains of what is wrong with it.
		content, err := os.ReadFile(configFile)
		if err == nil {
			err = yaml.Unmarshal(content, &p)
		}
		if err != nil {
			logger.Warn("The web configuration file cannot be read", "file", configFile, "err", err)
		}
	}
	if lacks := p.missing(); lacks != "" {
		logger.Warn("Other machines reach the debug server without "+lacks+": set that up with --web.config.file, or listen on 127.0.0.1",
			"address", address.String())
	}
}
