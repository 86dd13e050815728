package request

import (
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/config"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping/secret"
)

// maxQuoted is how much an error quotes of what a target sent, and maxText how long it is at
// most, in bytes.
const (
	maxQuoted = 100
	maxText   = 300
)

var (
	// requestPattern is how net/http begins the error of a request.
	requestPattern = regexp.MustCompile(`^(Get|Post) "(?:[^"\\]|\\.)*": `)
	// statusPattern is what comes before the words that a server has for its status: in
	// errors of Prometheus's discovery, and in those of golang.org/x/oauth2.
	statusPattern = regexp.MustCompile(`(?:HTTP status|cannot fetch token:) [0-9]{3} `)
	// ownPattern is how errors begin that are no proxy's. What a proxy answers to CONNECT
	// instead of 200 is all of net/http's error.
	ownPattern = regexp.MustCompile(`^(?:dial|dialing|proxyconnect|socks connect|read|write|context|malformed|creating|unable to|server returned|unsupported|invalid) ` +
		`|^(?:net/http|http|http2|tls|x509|remote error|local error|oauth2|json|yaml): |^(?:unexpected )?EOF$`)
)

// A Quoter puts the errors of a job's requests into words that people may read. A target
// sends what it likes, and errors quote it.
type Quoter struct {
	secrets *secret.Values
	silent  bool // about bodies
	// There is a proxy, and it is sent what it may not repeat.
	proxy, silentProxy bool
}

// NewQuoter returns the quoter of a job.
func NewQuoter(j *job.Config) *Quoter {
	q := &Quoter{secrets: secret.ValuesOf(&j.HTTPClientConfig), silent: j.Credentials() != ""}
	q.silentProxy = q.silent
	q.asks(&j.HTTPClientConfig.ProxyConfig)
	if a := j.HTTPClientConfig.OAuth2; a != nil {
		q.asks(&a.ProxyConfig)
	}
	return q
}

// asks notes the proxy of a configuration. That of the environment may have credentials.
func (q *Quoter) asks(c *config.ProxyConfig) {
	named := c.ProxyURL.URL != nil
	q.proxy = q.proxy || named || c.ProxyFromEnvironment
	q.silentProxy = q.silentProxy || named && c.ProxyURL.User != nil || c.ProxyFromEnvironment || len(c.ProxyConnectHeader) > 0
}

// Secrets are those of the job's HTTP settings.
func (q *Quoter) Secrets() *secret.Values { return q.secrets }

// Error tells what went wrong, with at most 100 bytes of what the target sent. Of
// a job with credentials it quotes no body: with these the target may have answered what
// not everybody may read. Nor does it quote a server's or a proxy's words for a status, which
// may repeat what was sent.
func (q *Quoter) Error(err error) string {
	text, purpose := q.secrets.Error(err), ""
	for m := requestPattern.FindStringSubmatch(text); m != nil; m = requestPattern.FindStringSubmatch(text) {
		text = text[len(m[0]):]
		if m[1] == "Post" { // a target is never sent one
			purpose = "asking for a token: "
		}
	}
	return purpose + q.quote(text, Reason(err))
}

func (q *Quoter) quote(text, reason string) string {
	if reason == "" && q.proxy && !ownPattern.MatchString(text) && !isStatusText(text) {
		if q.silentProxy {
			return "an error that may be the proxy's" + notQuoted
		}
		return cut(text, maxQuoted)
	}
	from, silent := "\"\n", q.silent
	switch reason {
	case "parse", "label_limit":
		from = "\"\n:" // "invalid metric name: …"
	case "content_type", "redirect": // headers
		silent = false
	}
	begin := strings.IndexAny(text, from)
	if m := statusPattern.FindStringIndex(text); m != nil && reason == "" && !isStatusText(text[m[1]:]) && (begin < 0 || m[1] <= begin) {
		begin = m[1] - len(" ")
	}
	switch {
	case begin < 0:
		return cut(text, maxText)
	case silent:
		return cut(text, min(begin, maxText)) + notQuoted
	default:
		return cut(text, min(begin+maxQuoted, maxText))
	}
}

const notQuoted = " (not quoted, since the job has credentials)"

// isStatusText reports whether a text is the usual one of a status.
func isStatusText(text string) bool {
	for status := http.StatusMultipleChoices; status < 600; status++ {
		if text != "" && text == http.StatusText(status) {
			return true
		}
	}
	return false
}

// cut returns at most n bytes of a text.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
