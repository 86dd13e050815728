package config

import "strings"

// Remedies that several keys share.
const (
	useLocal    = "promscope looks at its own machine: use listener_sd_configs, static_configs, file_sd_configs or http_sd_configs"
	noStorage   = "promscope keeps the last minutes in memory and sends nothing on; leave it to Prometheus"
	noAlerts    = "promscope raises no alerts; leave it to Prometheus"
	noServer    = "it is about Prometheus's own process; remove it here"
	noRefs      = "promscope has no secret provider; use the key that ends in _file"
	inTheMiddle = "a rule is evaluated when samples that it selects arrive; remove it"
)

// prometheusOnly returns the remedy for a key that Prometheus knows and
// promscope does not, or "" for any other.
func prometheusOnly(key string) string {
	switch key {
	case "alerting", "alert_relabel_configs", "alertmanagers":
		return noAlerts
	case "remote_write", "remote_read", "storage", "tsdb", "exemplars":
		return noStorage
	case "evaluation_interval", "rule_query_offset":
		return inTheMiddle
	case "external_labels":
		return "series do not leave this machine, so nothing needs to tell them apart; remove it"
	case "tracing", "otlp", "runtime", "query_log_file":
		return noServer
	case "scrape_failure_log_file":
		return "failures of scrapes are in the log, on the status page and on /metrics; remove it"
	case "scrape_config_files":
		return "write the jobs under scrape_configs"
	case "scrape_classic_histograms":
		return "Prometheus 3 calls it always_scrape_classic_histograms"
	case "groups":
		return "recording and alerting rules are Prometheus's; rules for Scope's nodes stand in a list under rules"
	}
	if strings.HasSuffix(key, "_sd_configs") || strings.HasSuffix(key, "_sd_config") {
		return useLocal
	}
	return ""
}
