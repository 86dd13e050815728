package request

import (
	"strings"
	"unicode/utf8"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping/secret"
)

// maxQuoted is how much an error quotes of what a target sent, in bytes.
const maxQuoted = 100

// A Quoter puts the errors of a job's requests into words that people may read. A target
// sends what it likes, and errors quote it.
type Quoter struct {
	secrets *secret.Values
	silent  bool
}

// NewQuoter returns the quoter of a job.
func NewQuoter(j *job.Config) *Quoter {
	return &Quoter{secrets: secret.ValuesOf(&j.HTTPClientConfig), silent: j.Credentials() != ""}
}

// Secrets are those of the job's HTTP settings.
func (q *Quoter) Secrets() *secret.Values { return q.secrets }

// Error tells what went wrong, with at most 100 bytes of what the target sent. Of
// a job with credentials it quotes no body: with these the target may have answered what
// not everybody may read.
func (q *Quoter) Error(err error) string {
	text := q.secrets.Error(err)
	from, silent := "\"\n", q.silent
	switch Reason(err) {
	case "parse", "label_limit":
		from = "\"\n:" // "invalid metric name: …"
	case "content_type", "redirect": // headers
		silent = false
	}
	begin := strings.IndexAny(text, from)
	if begin < 0 {
		return text
	}
	if silent {
		return text[:begin] + "… (not quoted, since the job has credentials)"
	}
	end := begin + maxQuoted
	if len(text) <= end {
		return text
	}
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
