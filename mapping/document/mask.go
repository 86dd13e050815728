package document

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// secretMask stands for a secret's value, as in Prometheus's own output.
const secretMask = "<secret>"

var (
	// keyPattern finds keys on a line, in block and in flow style.
	keyPattern = regexp.MustCompile(`["']?([A-Za-z0-9_.-]+)["']?\s*:(?:\s+|$)`)
	// secretPattern matches keys whose values are not shown.
	secretPattern = regexp.MustCompile(`(?i)passw|passphrase|pwd|secret|token|credential|^key$|_key$`)
	// harmlessPattern matches keys that only tell where a secret is.
	harmlessPattern = regexp.MustCompile(`(?i)_(file|ref|url)$`)
	// userInfoPattern matches the password of a URL.
	userInfoPattern = regexp.MustCompile(`(://[^/\s:@"']*):[^/\s@"']+@`)
)

// secretNames are the keys to which a misspelt secret's key is compared.
var secretNames = []string{"password", "credentials", "secrets", "client_secret", "bearer_token", "token"}

// isSecretKey reports whether a key's value may not be shown. A misspelt one
// counts too: it is just the line that an error will print.
func isSecretKey(key string) bool {
	if harmlessPattern.MatchString(key) {
		return false
	}
	return secretPattern.MatchString(key) || Suggest(key, secretNames) != ""
}

// maskURLs hides the passwords of URLs.
func maskURLs(s string) string {
	return userInfoPattern.ReplaceAllString(s, "$1:"+secretMask+"@")
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
		if value := text[m[1]:]; value == "" || strings.ContainsAny(value[:1], "#|>&*!") || !isSecretKey(text[m[2]:m[3]]) {
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

// underSecretKey reports whether a line belongs to the value of a secret's key
// further up: a list of secrets, or a block scalar. When in doubt it does.
func (d *Document) underSecretKey(line int) bool {
	text := d.lines[line-1]
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
				if isSecretKey(m[1]) {
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
