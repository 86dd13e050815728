package web

import "bytes"

// redactUserInfo replaces the user info of URLs, plain or escaped as in a query
// string. Whoever fills in a view model redacts it already; this is the last
// line behind him, over every byte that leaves a page or the API.
func redactUserInfo(text []byte) []byte {
	var clean []byte
	rest := text
	for {
		i, length := authority(rest)
		if i < 0 {
			break
		}
		begin := i + length
		end := userInfo(rest[begin:])
		if clean == nil && end > 0 {
			clean = make([]byte, 0, len(text))
			clean = append(clean, text[:len(text)-len(rest)]...)
		}
		if clean != nil {
			clean = append(clean, rest[:begin]...)
			if end > 0 {
				clean = append(clean, "redacted"...)
			}
		}
		rest = rest[begin+max(end, 0):]
	}
	if clean == nil {
		return text
	}
	return append(clean, rest...)
}

// authority finds where the authority of the next URL begins: behind "://" or
// what a query string has in its place.
func authority(text []byte) (at, length int) {
	plain := bytes.Index(text, []byte("://"))
	if plain >= 0 {
		text = text[:plain]
	}
	for from := 0; ; {
		i := bytes.IndexByte(text[from:], '%')
		if i < 0 {
			return plain, 3
		}
		from += i
		if rest := text[from:]; len(rest) >= 9 && bytes.EqualFold(rest[:9], []byte("%3a%2f%2f")) {
			return from, 9
		}
		from++
	}
}

// userInfo is the length of the user info at the start of an authority; 0 if it
// has none.
func userInfo(text []byte) int {
	const longest = 1024
	end := 0
	for i := 0; i < len(text) && i < longest; i++ {
		switch c := text[i]; c {
		case '/', '?', '"', '<', '>', ' ', '\t', '\n', '\r':
			return end
		case '#':
			if i == 0 || text[i-1] != '&' { // else it is a character that HTML escapes
				return end
			}
		case '\\':
			if i+1 == len(text) || text[i+1] != 'u' { // else one that JSON escapes
				return end
			}
		case '@':
			end = i // the last one counts: a password may have one too
		case '%':
			if rest := text[i:]; len(rest) >= 3 {
				switch {
				case bytes.Equal(rest[:3], []byte("%40")):
					end = i
				case bytes.EqualFold(rest[:3], []byte("%2f")), bytes.EqualFold(rest[:3], []byte("%22")), bytes.Equal(rest[:3], []byte("%20")):
					return end
				}
			}
		}
	}
	return end
}
