package scrape

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

// mediaTypes as they are in the Content-Type header, less its parameters.
const (
	mediaProto       = "application/vnd.google.protobuf"
	mediaText        = "text/plain"
	mediaOpenMetrics = "application/openmetrics-text"
)

// Protocols lists all of them in the order of preference when native
// histograms are scraped; without these, protobuf is left out.
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
		return mediaProto + ";proto=io.prometheus.client.MetricFamily;encoding=delimited"
	case PrometheusText0_0_4:
		return mediaText + ";version=0.0.4"
	case PrometheusText1_0_0:
		return mediaText + ";version=1.0.0"
	case OpenMetricsText0_0_1:
		return mediaOpenMetrics + ";version=0.0.1"
	case OpenMetricsText1_0_0:
		return mediaOpenMetrics + ";version=1.0.0"
	default:
		return ""
	}
}

func (p Protocol) validate() error {
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

func validateProtocols(ps []Protocol) error {
	seen := make(map[Protocol]bool, len(ps))
	for _, p := range ps {
		if err := p.validate(); err != nil {
			return err
		}
		if seen[p] {
			return fmt.Errorf("duplicated protocol %q", string(p))
		}
		seen[p] = true
	}
	return nil
}

// acceptHeader prefers the protocols in their order, and takes anything last.
func acceptHeader(ps []Protocol, scheme model.EscapingScheme) string {
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

// mediaTypeOf tells the format of a response: what its Content-Type says if it
// is one that can be parsed, else the fallback, else an error.
func mediaTypeOf(contentType string, fallback Protocol) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case media == mediaText, media == mediaProto, media == mediaOpenMetrics && params["version"] != "2.0.0":
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
