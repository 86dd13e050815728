package document

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// secretMask stands for a secret's value, as in Prometheus's own output.
const secretMask = "<secret>"

var (
	// keyPattern finds keys on a line, in block and in flow style. After a quoted
	// one no space is needed.
	keyPattern = regexp.MustCompile(`([A-Za-z0-9_.-]+)(?:["']\s*:\s*|\s*:(?:\s+|$))`)
	// secretPattern matches keys whose values are not shown.
	secretPattern = regexp.MustCompile(`(?i)passw|passphrase|pwd|secret|token|credential|cookie|^key$|[_-]key$`)
	// sectionPattern matches keys of mappings with secrets in them. Somebody who
	// does not know that writes the secret itself there.
	sectionPattern = regexp.MustCompile(`(?i)^(authorization|basic_auth|oauth2)$`)
	// headersPattern matches keys of mappings all of whose values are secret.
	headersPattern = regexp.MustCompile(`^(http_headers|proxy_connect_header)$`)
	// harmlessPattern matches keys that only tell where a secret is.
	harmlessPattern = regexp.MustCompile(`(?i)_(file|ref|url)$`)
	// userInfoPattern matches the password of a URL: to the last @, since people
	// forget to escape what is in their passwords.
	userInfoPattern = regexp.MustCompile(`(://[^/\s:@"']*):[^\s"']+@`)
)

// isSecretKey reports whether a key's value may not be shown. A misspelled one
// counts too: it is just the line that an error will print.
func isSecretKey(key string) bool {
	if harmlessPattern.MatchString(key) {
		return false
	}
	names := []string{"password", "credentials", "secrets", "client_secret", "bearer_token", "token"}
	return secretPattern.MatchString(key) || Suggest(key, names) != ""
}

// maskURLs hides the passwords of URLs, as url.URL.Redacted does.
func maskURLs(s string) string {
	return userInfoPattern.ReplaceAllString(s, "$1:xxxxx@")
}

// masked returns a line, counted from 1, without secrets, and where a
// character of it, counted from 0, has moved.
func (d *Document) masked(line, column int) (string, int) {
	text := d.lines[line-1]
	if d.underSecretKey(line) {
		lead := leadingBlanks(text)
		return text[:lead] + secretMask, min(column, lead)
	}
	for _, m := range keyPattern.FindAllStringSubmatchIndex(text, -1) {
		if !hidesValue(text[m[2]:m[3]], text[m[1]:]) {
			continue
		}
		// Where the value ends is not worth guessing: nothing after it is shown.
		shown := maskURLs(text[:m[1]])
		return shown + secretMask, min(column, utf8.RuneCountInString(shown))
	}
	shown := maskURLs(text)
	before := maskURLs(string([]rune(text)[:min(column, utf8.RuneCountInString(text))]))
	return shown, utf8.RuneCountInString(before[:commonPrefix(shown, before)])
}

// hidesValue reports whether the rest of a key's line may not be shown.
func hidesValue(key, rest string) bool {
	switch {
	case rest == "" || strings.ContainsAny(rest[:1], "|>*"): // elsewhere
		return false
	case sectionPattern.MatchString(key):
		return rest[0] != '{'
	default:
		return isSecretKey(key) || headersPattern.MatchString(key)
	}
}

// underSecretKey reports whether a line belongs to the value of a secret's key
// further up: a list of secrets, or a block scalar. When in doubt it does.
func (d *Document) underSecretKey(line int) bool {
	text := d.lines[line-1]
	if m := keyPattern.FindStringSubmatch(text); m != nil && m[1] == "files" {
		return false // of a header
	}
	depth := leadingBlanks(text)
	inList := strings.HasPrefix(text[depth:], "-")
	for i := line - 2; i >= 0; i-- {
		above := d.lines[i]
		lead := leadingBlanks(above)
		item := strings.HasPrefix(above[lead:], "-")
		// A list may stand at its key's own depth.
		if lead == len(above) || lead > depth || (lead == depth && (!inList || item)) {
			continue
		}
		body := strings.TrimLeft(above, " \t-")
		if keyDepth := len(above) - len(body); keyDepth < depth || (keyDepth == depth && !item) {
			for _, m := range keyPattern.FindAllStringSubmatch(body, -1) {
				if isSecretKey(m[1]) || headersPattern.MatchString(m[1]) {
					return true
				}
			}
		}
		depth, inList = lead, item
	}
	return false
}

func leadingBlanks(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }

// commonPrefix returns the length in bytes of what two strings begin with.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}
