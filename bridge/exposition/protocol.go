package exposition

import (
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/prometheus/common/model"
)

// Protocol names an exposition format, as `scrape_protocols` does.
type Protocol string

// The exposition formats that can be asked for.
const (
	PrometheusProto      Protocol = "PrometheusProto"
	PrometheusText0_0_4  Protocol = "PrometheusText0.0.4"
	PrometheusText1_0_0  Protocol = "PrometheusText1.0.0"
	OpenMetricsText0_0_1 Protocol = "OpenMetricsText0.0.1"
	OpenMetricsText1_0_0 Protocol = "OpenMetricsText1.0.0"
)

// The media types of expositions: a Content-Type header less its parameters.
const (
	MediaProto       = "application/vnd.google.protobuf"
	MediaText        = "text/plain"
	MediaOpenMetrics = "application/openmetrics-text"
)

// Protocols lists all formats, the preferred one first, for a job that scrapes native
// histograms. A job that does not leaves out protobuf, which is the first.
func Protocols() []Protocol {
	return []Protocol{
		PrometheusProto,
		OpenMetricsText1_0_0,
		OpenMetricsText0_0_1,
		PrometheusText1_0_0,
		PrometheusText0_0_4,
	}
}

func (p Protocol) header() string {
	switch p {
	case PrometheusProto:
		return MediaProto + ";proto=io.prometheus.client.MetricFamily;encoding=delimited"
	case PrometheusText0_0_4:
		return MediaText + ";version=0.0.4"
	case PrometheusText1_0_0:
		return MediaText + ";version=1.0.0"
	case OpenMetricsText0_0_1:
		return MediaOpenMetrics + ";version=0.0.1"
	case OpenMetricsText1_0_0:
		return MediaOpenMetrics + ";version=1.0.0"
	default:
		return ""
	}
}

// Validate tells whether the format is known.
func (p Protocol) Validate() error {
	if p.header() == "" {
		return fmt.Errorf("unknown protocol %q, supported: %v", string(p), Protocols())
	}
	return nil
}

// mediaType is the protocol's Content-Type without parameters.
func (p Protocol) mediaType() string {
	media, _, _ := strings.Cut(p.header(), ";")
	return media
}

// ValidateProtocols tells whether all formats are known and none is there twice.
func ValidateProtocols(ps []Protocol) error {
	seen := make(map[Protocol]bool, len(ps))
	for _, p := range ps {
		if err := p.Validate(); err != nil {
			return err
		}
		if seen[p] {
			return fmt.Errorf("duplicated protocol %q", string(p))
		}
		seen[p] = true
	}
	return nil
}

// AcceptHeader returns the Accept header of a request. It prefers the protocols in
// their order, and takes anything else last.
func AcceptHeader(ps []Protocol, scheme model.EscapingScheme) string {
	var b strings.Builder
	weight := len(Protocols()) + 1
	for _, p := range ps {
		b.WriteString(p.header())
		// The text formats know the parameter from version 1.0.0 on.
		if p == PrometheusText1_0_0 || p == OpenMetricsText1_0_0 {
			fmt.Fprintf(&b, ";%s=%s", model.EscapingKey, scheme)
		}
		fmt.Fprintf(&b, ";q=0.%d,", weight)
		weight--
	}
	fmt.Fprintf(&b, "*/*;q=0.%d", weight)
	return b.String()
}

// MediaType returns the media type to read a response as: the one of its Content-Type
// if that can be parsed, else the one of the fallback, else an error.
func MediaType(contentType string, fallback Protocol) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case media == MediaText, media == MediaProto, media == MediaOpenMetrics && params["version"] != "2.0.0":
		if err == nil {
			return media, nil
		}
	case fallback != "":
	case contentType == "":
		return "", errors.New("no Content-Type and no fallback_scrape_protocol")
	}
	if fallback != "" {
		return fallback.mediaType(), nil
	}
	return "", fmt.Errorf("unsupported Content-Type %q and no fallback_scrape_protocol", contentType)
}

// IsNamed reports whether a Content-Type alone says that the answer is an exposition.
// Plain text may be anything, unless it has a version.
func IsNamed(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	return err == nil && (media == MediaProto || media == MediaOpenMetrics || media == MediaText && params["version"] != "")
}
