package secret

import (
	"bytes"
	"strconv"
)

// maxUserInfo bounds how many bytes of a URL are searched for the end of its user
// info, so that the time for a page is linear in its length.
const maxUserInfo = 1024

// UserInfo hides the user info of all URLs in a text. A user's name stays if a
// password follows it. URLs may be plain, or escaped as in a query string, and the
// text may be HTML or JSON. Without user info UserInfo returns the text itself.
func UserInfo(text []byte) []byte {
	var shown []byte
	done := 0
	for i := 0; i < len(text); i++ {
		begin := i
		switch rest := text[i:]; {
		case bytes.HasPrefix(rest, []byte("://")):
			begin += len("://")
		case rest[0] == '%' && len(rest) >= 9 && bytes.EqualFold(rest[:9], []byte("%3a%2f%2f")):
			begin += len("%3a%2f%2f")
		default:
			continue
		}
		name, length := userInfo(text[begin:], text[i] == '%')
		if length == 0 {
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
// there is none, and the length of the name in it that may be shown, with its colon.
//
// User info ends at the last @ of the authority. People forget to escape what is in
// their passwords, so after an @, or after a colon that no port follows, a slash does
// not end the authority.
func userInfo(url []byte, escaped bool) (name, length int) {
	mayBePort := true
	for i, size := 0, 1; i < min(len(url), maxUserInfo); i += size {
		c := url[i]
		if escaped {
			c, size = unescape(url[i:])
		}
		switch {
		case bytes.IndexByte([]byte(" \t\r\n\"<>"), c) >= 0, escaped && url[i] == '&':
			return name, length
		case c == '#' && i > 0 && url[i-1] == '&': // of a character that HTML escapes
		case c == '/', c == '?', c == '#':
			if length == 0 && mayBePort {
				return 0, 0
			}
		case c == '@':
			length = i
		case c == ':' && name == 0 && length == 0 && url[0] != '[':
			name = i + size
		case name > 0 && (c < '0' || c > '9'):
			mayBePort = false
		}
	}
	return name, length
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
