package document

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/secret"
)

var (
	// keyPattern finds keys on a line, in block and in flow style. After a quoted
	// one no space is needed.
	keyPattern = regexp.MustCompile(`([A-Za-z0-9_.-]+)(?:["']\s*:\s*|\s*:(?:\s+|$))`)
	// sectionPattern matches keys of mappings with secrets in them. By mistake people
	// write the secret itself there.
	sectionPattern = regexp.MustCompile(`(?i)^(authorization|basic_auth|oauth2)$`)
	// headersPattern matches keys of mappings all of whose values are secret.
	headersPattern = regexp.MustCompile(`^(http_headers|proxy_connect_header)$`)
)

// holdsSecrets reports whether all values below a key are secret. A misspelled key
// counts too: the error about it prints its line.
func holdsSecrets(key string) bool {
	if sectionPattern.MatchString(key) || secret.About(key) {
		return false
	}
	names := []string{"password", "credentials", "secrets", "client_secret", "bearer_token", "token"}
	return headersPattern.MatchString(key) || secret.Name(key) || Suggest(key, names) != ""
}

// Redact hides, in a tree of nodes, all values below keys of secrets and of HTTP
// headers, and the secrets of URLs. A mapping whose key only looks like a secret's is
// gone through, not hidden.
func Redact(node *yaml.Node) {
	switch node.Kind {
	case yaml.ScalarNode:
		node.Value = secret.Text(node.Value)
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			isSection := value.Kind == yaml.MappingNode && !headersPattern.MatchString(key)
			if holdsSecrets(key) && !isSection {
				hideScalars(value)
			} else {
				Redact(value)
			}
		}
	default:
		for _, child := range node.Content {
			Redact(child)
		}
	}
}

// hideScalars hides all values below a node, but not the keys.
func hideScalars(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode {
		if node.Value != "" && !isNull(node) {
			node.SetString(secret.Mark)
		}
		return
	}
	for i, child := range node.Content {
		if node.Kind != yaml.MappingNode || i%2 == 1 {
			hideScalars(child)
		}
	}
}

// masked returns a line, counted from 1, without secrets, and where a
// character of it, counted from 0, has moved.
func (d *Document) masked(line, column int) (string, int) {
	text := d.lines[line-1]
	if d.underSecretKey(line) {
		lead := leadingBlanks(text)
		return text[:lead] + secret.Mark, min(column, lead)
	}
	for _, m := range keyPattern.FindAllStringSubmatchIndex(text, -1) {
		if !hidesValue(text[m[2]:m[3]], text[m[1]:]) {
			continue
		}
		// Where the value ends is not worth guessing: nothing after it is shown.
		shown := secret.Text(text[:m[1]])
		return shown + secret.Mark, min(column, utf8.RuneCountInString(shown))
	}
	shown := secret.Text(text)
	before := secret.Text(string([]rune(text)[:min(column, utf8.RuneCountInString(text))]))
	return shown, utf8.RuneCountInString(before[:commonPrefix(shown, before)])
}

// hidesValue reports whether the rest of a key's line may not be shown.
func hidesValue(key, rest string) bool {
	switch {
	case rest == "" || strings.ContainsAny(rest[:1], "|>*"): // elsewhere
		return false
	case sectionPattern.MatchString(key):
		return rest[0] != '{'
	}
	return holdsSecrets(key)
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
				if holdsSecrets(m[1]) {
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
