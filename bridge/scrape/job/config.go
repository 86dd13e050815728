// Package job is one scrape job in the words of prometheus.yml, without its service
// discovery, and the targets that relabelling makes of what discovery finds.
package job

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/exposition"
)

// Global is what all jobs inherit unless they say otherwise: the part of
// prometheus.yml's `global` section that is about scraping. A limit of 0 is no
// limit.
type Global struct {
	ScrapeInterval                 model.Duration         `yaml:"scrape_interval,omitempty"`
	ScrapeTimeout                  model.Duration         `yaml:"scrape_timeout,omitempty"`
	ScrapeProtocols                []exposition.Protocol  `yaml:"scrape_protocols,omitempty"`
	BodySizeLimit                  units.Base2Bytes       `yaml:"body_size_limit,omitempty"`
	SampleLimit                    uint                   `yaml:"sample_limit,omitempty"`
	TargetLimit                    uint                   `yaml:"target_limit,omitempty"`
	LabelLimit                     uint                   `yaml:"label_limit,omitempty"`
	LabelNameLengthLimit           uint                   `yaml:"label_name_length_limit,omitempty"`
	LabelValueLengthLimit          uint                   `yaml:"label_value_length_limit,omitempty"`
	KeepDroppedTargets             uint                   `yaml:"keep_dropped_targets,omitempty"`
	MetricNameValidationScheme     model.ValidationScheme `yaml:"metric_name_validation_scheme,omitempty"`
	MetricNameEscapingScheme       string                 `yaml:"metric_name_escaping_scheme,omitempty"`
	ScrapeNativeHistograms         bool                   `yaml:"scrape_native_histograms,omitempty"`
	ConvertClassicHistogramsToNHCB bool                   `yaml:"convert_classic_histograms_to_nhcb,omitempty"`
	AlwaysScrapeClassicHistograms  bool                   `yaml:"always_scrape_classic_histograms,omitempty"`
	ExtraScrapeMetrics             bool                   `yaml:"extra_scrape_metrics,omitempty"`
}

// Config is one scrape job in Prometheus's words, without its service
// discovery. Begin with [DefaultConfig], decode into it, then Validate.
type Config struct {
	JobName                        string                 `yaml:"job_name"`
	HonorLabels                    bool                   `yaml:"honor_labels,omitempty"`
	HonorTimestamps                bool                   `yaml:"honor_timestamps"`
	TrackTimestampsStaleness       bool                   `yaml:"track_timestamps_staleness"`
	Params                         url.Values             `yaml:"params,omitempty"`
	ScrapeInterval                 model.Duration         `yaml:"scrape_interval,omitempty"`
	ScrapeTimeout                  model.Duration         `yaml:"scrape_timeout,omitempty"`
	ScrapeProtocols                []exposition.Protocol  `yaml:"scrape_protocols,omitempty"`
	ScrapeFallbackProtocol         exposition.Protocol    `yaml:"fallback_scrape_protocol,omitempty"`
	ScrapeNativeHistograms         bool                   `yaml:"scrape_native_histograms,omitempty"`
	AlwaysScrapeClassicHistograms  bool                   `yaml:"always_scrape_classic_histograms,omitempty"`
	ConvertClassicHistogramsToNHCB bool                   `yaml:"convert_classic_histograms_to_nhcb,omitempty"`
	MetricsPath                    string                 `yaml:"metrics_path,omitempty"`
	Scheme                         string                 `yaml:"scheme,omitempty"`
	EnableCompression              bool                   `yaml:"enable_compression"`
	BodySizeLimit                  units.Base2Bytes       `yaml:"body_size_limit,omitempty"` // of the uncompressed body
	SampleLimit                    uint                   `yaml:"sample_limit,omitempty"`
	TargetLimit                    uint                   `yaml:"target_limit,omitempty"`
	LabelLimit                     uint                   `yaml:"label_limit,omitempty"`
	LabelNameLengthLimit           uint                   `yaml:"label_name_length_limit,omitempty"`
	LabelValueLengthLimit          uint                   `yaml:"label_value_length_limit,omitempty"`
	NativeHistogramBucketLimit     uint                   `yaml:"native_histogram_bucket_limit,omitempty"`
	NativeHistogramMinBucketFactor float64                `yaml:"native_histogram_min_bucket_factor,omitempty"`
	KeepDroppedTargets             uint                   `yaml:"keep_dropped_targets,omitempty"`
	MetricNameValidationScheme     model.ValidationScheme `yaml:"metric_name_validation_scheme,omitempty"`
	MetricNameEscapingScheme       string                 `yaml:"metric_name_escaping_scheme,omitempty"`
	ExtraScrapeMetrics             bool                   `yaml:"extra_scrape_metrics,omitempty"`

	// Narrow asks exporters that support it for only the metrics that rules
	// need, by the parameters collect[] and name[]. Prometheus does not
	// have this key.
	Narrow bool `yaml:"narrow,omitempty"`

	HTTPClientConfig config.HTTPClientConfig `yaml:",inline"`

	// FollowRedirectsElsewhere also follows redirects that leave the target's scheme,
	// host and port. Prometheus does not have this key, and follows them all.
	FollowRedirectsElsewhere bool `yaml:"follow_redirects_elsewhere,omitempty"`

	RelabelConfigs       []*relabel.Config `yaml:"relabel_configs,omitempty"`
	MetricRelabelConfigs []*relabel.Config `yaml:"metric_relabel_configs,omitempty"`

	inherited model.Duration // the global timeout, which a shorter interval cuts
}

// InProcess is the job label of what is gathered in process.
const InProcess = "promscope"

// DefaultSampleLimit is out of reach for an exporter that means well.
const DefaultSampleLimit = 2_000_000

// DefaultGlobal returns the defaults: those of Prometheus, but for a short
// interval, since what Scope shows is the last minute, and for bounds where
// Prometheus has none.
func DefaultGlobal() Global {
	return Global{
		ScrapeInterval:             model.Duration(5 * time.Second),
		ScrapeTimeout:              model.Duration(10 * time.Second), // which a shorter interval cuts
		BodySizeLimit:              256 * units.Mebibyte,
		SampleLimit:                DefaultSampleLimit,
		TargetLimit:                2_000,
		LabelLimit:                 128,
		LabelNameLengthLimit:       1_024,
		LabelValueLengthLimit:      16_384,
		KeepDroppedTargets:         100,
		MetricNameValidationScheme: model.UTF8Validation,
	}
}

// DefaultConfig returns a job that says nothing of its own.
func DefaultConfig(g Global) Config {
	return Config{
		HonorTimestamps:                true,
		EnableCompression:              true,
		MetricsPath:                    "/metrics",
		Scheme:                         "http",
		HTTPClientConfig:               config.DefaultHTTPClientConfig,
		ScrapeInterval:                 g.ScrapeInterval,
		ScrapeProtocols:                g.ScrapeProtocols,
		BodySizeLimit:                  g.BodySizeLimit,
		SampleLimit:                    g.SampleLimit,
		TargetLimit:                    g.TargetLimit,
		LabelLimit:                     g.LabelLimit,
		LabelNameLengthLimit:           g.LabelNameLengthLimit,
		LabelValueLengthLimit:          g.LabelValueLengthLimit,
		KeepDroppedTargets:             g.KeepDroppedTargets,
		MetricNameValidationScheme:     g.MetricNameValidationScheme,
		MetricNameEscapingScheme:       g.MetricNameEscapingScheme,
		ScrapeNativeHistograms:         g.ScrapeNativeHistograms,
		ConvertClassicHistogramsToNHCB: g.ConvertClassicHistogramsToNHCB,
		AlwaysScrapeClassicHistograms:  g.AlwaysScrapeClassicHistograms,
		ExtraScrapeMetrics:             g.ExtraScrapeMetrics,
		inherited:                      g.ScrapeTimeout,
	}
}

// ParserOptions returns how the parser treats histograms.
func (c *Config) ParserOptions() textparse.ParserOptions {
	return textparse.ParserOptions{
		IgnoreNativeHistograms:                  !c.ScrapeNativeHistograms,
		ConvertClassicHistogramsToNHCB:          c.ConvertClassicHistogramsToNHCB,
		KeepClassicOnClassicAndNativeHistograms: c.AlwaysScrapeClassicHistograms,
	}
}

// FieldError is what is wrong with one key of a Config.
type FieldError struct {
	Key string // as in YAML
	Err error
}

func (e *FieldError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the error without the key.
func (e *FieldError) Unwrap() error { return e.Err }

// Validate checks the job and fills in what follows from the rest of it. The
// error joins one *FieldError for each thing that is wrong (errors.Join).
func (c *Config) Validate() error {
	var errs []error
	check := func(key string, err error) {
		if err != nil {
			errs = append(errs, &FieldError{Key: key, Err: err})
		}
	}
	if c.JobName == "" {
		check("job_name", errors.New("must not be empty"))
	}
	check("scrape_interval", c.validateInterval())
	check("scrape_timeout", c.validateTimeout())
	if c.Scheme != "http" && c.Scheme != "https" {
		check("scheme", fmt.Errorf("must be http or https, not %q", c.Scheme))
	}
	if c.BodySizeLimit < 0 {
		check("body_size_limit", errors.New("must not be negative"))
	}
	if c.ScrapeProtocols == nil {
		c.ScrapeProtocols = exposition.Protocols()
		if !c.ScrapeNativeHistograms {
			c.ScrapeProtocols = c.ScrapeProtocols[1:]
		}
	}
	if len(c.ScrapeProtocols) == 0 {
		check("scrape_protocols", errors.New("must not be empty"))
	}
	check("scrape_protocols", exposition.ValidateProtocols(c.ScrapeProtocols))
	if c.ScrapeFallbackProtocol != "" {
		check("fallback_scrape_protocol", c.ScrapeFallbackProtocol.Validate())
	}
	check("metric_name_escaping_scheme", c.validateNames())
	check("relabel_configs", c.validateRelabel(c.RelabelConfigs))
	check("metric_relabel_configs", c.validateRelabel(c.MetricRelabelConfigs))
	if err := c.HTTPClientConfig.Validate(); err != nil {
		errs = append(errs, err)
	}
	check("follow_redirects_elsewhere", c.validateRedirects())
	return errors.Join(errs...)
}

func (c *Config) validateInterval() error {
	if c.ScrapeInterval <= 0 {
		return errors.New("must be positive")
	}
	return nil
}

func (c *Config) validateTimeout() error {
	if c.ScrapeTimeout == 0 {
		c.ScrapeTimeout = c.ScrapeInterval
		if c.inherited > 0 {
			c.ScrapeTimeout = min(c.inherited, c.ScrapeInterval)
		}
	}
	if c.ScrapeTimeout > c.ScrapeInterval {
		return fmt.Errorf("%s is longer than the scrape interval of %s", c.ScrapeTimeout, c.ScrapeInterval)
	}
	return nil
}

// validateNames settles which characters metric and label names may have, and how the
// exporter is to escape the others.
func (c *Config) validateNames() error {
	if c.MetricNameValidationScheme == model.UnsetValidation {
		c.MetricNameValidationScheme = model.UTF8Validation
	}
	legacy := c.MetricNameValidationScheme == model.LegacyValidation
	switch c.MetricNameEscapingScheme {
	case "":
		c.MetricNameEscapingScheme = model.AllowUTF8
		if legacy {
			c.MetricNameEscapingScheme = model.EscapeUnderscores
		}
	case model.EscapeUnderscores, model.EscapeDots, model.EscapeValues:
	case model.AllowUTF8:
		if legacy {
			return errors.New("UTF-8 names need metric_name_validation_scheme: utf8")
		}
	default:
		return fmt.Errorf("must be one of %s, %s, %s, %s, not %q", model.AllowUTF8, model.EscapeUnderscores,
			model.EscapeDots, model.EscapeValues, c.MetricNameEscapingScheme)
	}
	return nil
}

func (c *Config) validateRelabel(rcs []*relabel.Config) error {
	for i, rc := range rcs {
		if rc == nil {
			return fmt.Errorf("entry %d is empty", i+1)
		}
		if err := rc.Validate(c.MetricNameValidationScheme); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return nil
}

func (c *Config) validateRedirects() error {
	switch credentials := c.Credentials(); {
	case !c.FollowRedirectsElsewhere:
		return nil
	case !c.HTTPClientConfig.FollowRedirects:
		return errors.New("needs follow_redirects: true")
	case credentials != "":
		return fmt.Errorf("is not for a job with credentials (%s), which are for its targets alone", credentials)
	}
	return nil
}

// SetDirectory makes the job's relative file names relative to dir.
func (c *Config) SetDirectory(dir string) { c.HTTPClientConfig.SetDirectory(dir) }
