package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/prometheus/common/config"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/view"
)

// Remote is a running promscope.
type Remote struct {
	URL string // of its debug server
	// HTTPConfigFile says how to authenticate there, as Prometheus's tools have
	// it (basic_auth, authorization, tls_config …); empty for not at all.
	HTTPConfigFile string
}

// Explain asks the running promscope why.
func (r Remote) Explain(ctx context.Context, subject string) (view.Explanation, error) {
	var e view.Explanation
	err := r.get(ctx, "explain", url.Values{"subject": {subject}}, &e)
	return e, err
}

// Rules returns the mapping rules of the running promscope, and what became of them.
func (r Remote) Rules(ctx context.Context) ([]view.Rule, error) {
	var answer struct {
		Rules []view.Rule `json:"rules"`
	}
	err := r.get(ctx, "rules", nil, &answer)
	return answer.Rules, err
}

// get asks the API of the debug server.
func (r Remote) get(ctx context.Context, endpoint string, query url.Values, answer any) error {
	base, err := url.Parse(r.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return fmt.Errorf("%q is no URL of a debug server: write it as http://127.0.0.1:4041", r.URL[strings.LastIndexByte(r.URL, '@')+1:])
	}
	client, err := r.client()
	if err != nil {
		return err
	}
	at := base.JoinPath("api/v1", endpoint)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", scrape.UserAgent())
	resp, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, which may hold a password
		}
		return fmt.Errorf("asking %s: %w\nIs promscope running there? --url names its debug address (--web.listen-address of run)",
			base.Redacted(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	envelope := struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
		Error  string          `json:"error"`
	}{}
	switch err := json.NewDecoder(resp.Body).Decode(&envelope); {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("asking %s: %s: name a file with the credentials by --http.config.file", base.Redacted(), strings.ToLower(resp.Status))
	case err != nil && resp.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("asking %s: %s: it had no time for an answer: ask again", base.Redacted(), strings.ToLower(resp.Status))
	case err != nil || envelope.Status == "":
		return fmt.Errorf("asking %s: the answer (%s) is not promscope's: --url names another server", base.Redacted(), strings.ToLower(resp.Status))
	case envelope.Status != "success":
		return errors.New(envelope.Error)
	}
	if err := json.Unmarshal(envelope.Data, answer); err != nil {
		return fmt.Errorf("asking %s: the answer is that of another version of promscope: %w", base.Redacted(), err)
	}
	return nil
}

func (r Remote) client() (*http.Client, error) {
	cfg := &config.DefaultHTTPClientConfig
	if r.HTTPConfigFile != "" {
		var err error
		if cfg, _, err = config.LoadHTTPConfigFile(r.HTTPConfigFile); err != nil {
			return nil, fmt.Errorf("HTTP configuration file %s: %w", r.HTTPConfigFile, err)
		}
	}
	client, err := config.NewClientFromConfig(*cfg, "promscope")
	if err != nil {
		return nil, fmt.Errorf("HTTP configuration file %s: %w", r.HTTPConfigFile, err)
	}
	return client, nil
}
