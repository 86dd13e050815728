package secret

import (
	"bytes"
	"strconv"
)

// UserInfo hides the user info of all URLs in a text. A user's name stays if a
// password follows it. URLs may be plain, or escaped as in a query string, and the
// text may be HTML or JSON. Without user info UserInfo returns the text itself.
func UserInfo(text []byte) []byte {
	var shown []byte
	done := 0
	without := map[bool]int{} // up to where plain and escaped URLs have no user info
	for i := 0; i < len(text); i++ {
		begin := i
		switch rest := text[i:]; {
		case rest[0] == ':' && bytes.HasPrefix(rest, []byte("://")):
			begin += len("://")
		case rest[0] == '%' && len(rest) >= 9 && bytes.EqualFold(rest[:9], []byte("%3a%2f%2f")):
			begin += len("%3a%2f%2f")
		default:
			continue
		}
		escaped := text[i] == '%'
		if begin < without[escaped] {
			continue // else the time for many URLs in one word is quadratic
		}
		name, length, end := userInfo(text[begin:], escaped)
		if length == 0 {
			without[escaped] = begin + end
			continue
		}
		shown = append(shown, text[done:begin+name]...)
		shown = append(shown, "xxxxx"...)
		done = begin + length
		i = done
	}
	if done == 0 {
		return text
	}
	return append(shown, text[done:]...)
}

// userInfo returns the length of the user info that a URL has behind its scheme, 0 if
// there is none; the length of the name in it that may be shown, with its colon; and
// the length of what was searched.
//
// User info ends at the last @ of the authority. People forget to escape what is in
// their passwords, so after an @, or after a colon that no port follows, a slash does
// not end the authority.
func userInfo(url []byte, escaped bool) (name, length, end int) {
	mayBePort := true
	for i, size := 0, 1; i < len(url); i += size {
		c := url[i]
		if escaped {
			c, size = unescape(url[i:])
		}
		switch c {
		case ' ', '\t', '\r', '\n', '"', '<', '>':
			return name, length, i
		case '&':
			if escaped && size == 1 { // the next parameter
				return name, length, i
			}
			mayBePort = mayBePort && name == 0
		case '/', '?', '#':
			inHTML := c == '#' && i > 0 && url[i-1] == '&' // as in &#39;
			if length == 0 && mayBePort && !inHTML {
				return 0, 0, i
			}
		case '@':
			length = i
		default:
			switch {
			case c == ':' && name == 0 && length == 0 && url[0] != '[':
				name = i + size
			case name > 0 && (c < '0' || c > '9'):
				mayBePort = false
			}
		}
	}
	return name, length, len(url)
}

// unescape returns the first character of a part of a query string, and its length.
func unescape(query []byte) (c byte, size int) {
	if query[0] == '%' && len(query) >= 3 {
		if n, err := strconv.ParseUint(string(query[1:3]), 16, 8); err == nil {
			return byte(n), 3
		}
	}
	return query[0], 1
}
