// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Where messages begin and end in a stream of bytes: RFC 9112. The bytes come in pieces that are cut anywhere.
// scan_data looks at one part of a piece after the other, and stops where its caller has to know what was found.
#pragma once

#include "parse.h"

// Global functions are verified once, and not at each call. What they go on with is in memory of a map for the same reason:
// what is loaded from there has no known value, so that one turn of a loop is to the verifier as the next.
#define global __attribute__((noinline))

enum stage {
	LOST,  // where a message begins is not known, unless the next piece begins with one
	START, // of a message
	METHOD,
	TARGET, // and what follows it in the request line
	STATUS, // a status line, up to its code
	LINE,   // of a head: one of no interest
	LINE_START,
	NAME,   // of a field
	LENGTH, // the value of Content-Length
	CODING, // the value of Transfer-Encoding
	BODY,   // `body` bytes, and then the next message
	CHUNK_SIZE,
	CHUNK_LINE, // what follows the size of a chunk
	CHUNK,      // `body` bytes, and then the next chunk
	CHUNK_END,
	TRAILER_START,
	TRAILER,
	PROXY2, // a header of the PROXY protocol, version 2
};

enum flag {
	RESPONSES = 1 << 0, // the stream is one of responses, not of requests
	IS_HEAD = 1 << 1,   // the method is HEAD
	IS_CONNECT = 1 << 2,
	IS_PROXY = 1 << 3, // the line may be a header of the PROXY protocol, version 1
	NO_BODY = 1 << 4,  // the response has none, whatever its fields say
	EXPECTS = 1 << 5,  // the client waits for 100 before it sends the body
	REFUSED = 1 << 6,  // and was answered without
	UNSURE = 1 << 7,   // whether a message began here: before, it was not known where one does; or see perhaps_body
	ANSWERED = 1 << 8, // the request has been, before its line was whole
	LENGTH_FOLDS = 1 << 9,  // the line before was a Content-Length without a number, which may be on this one
	CODING_FOLDS = 1 << 10, // or a Transfer-Encoding that may go on
};

// scanner is what is known of a stream at the end of a piece.
struct scanner {
	__u64 word;  // of what the stage reads: its last bytes, a hash of them, or the status code
	__u64 body;  // bytes of the body, or of the chunk, that are to come
	__u64 began; // when the request's first byte was seen: nanoseconds of the monotonic clock
	__u32 next_seq; // what is before this has been looked at
	__u16 flags;
	__u8 stage;
	__u8 bytes; // that the stage has read
};

#define CHUNKED (~0ULL)       // a body in chunks
#define UNTIL_CLOSED (~1ULL)  // a response's body without a length

#define DATA_BYTES 512 // a power of two
#define MAX_RESPONSES 16 // of one write

// span is bytes of a stream that lie together, and where those are that follow them in the same write.
struct span {
	__u64 base; // their address
	__u64 iov;  // of the next iovec
	__u32 len;
	__u32 seq;  // of the first byte
	__u32 more; // buffers from iov on
	__u32 left; // bytes of these
};

// scan is where a scanner is at work. A program that is preempted is not run by another task on the same CPU
// meanwhile: so each direction has one a CPU.
struct scan {
	struct scanner s;
	struct scanner saved; // to go back to, with `retry`
	struct span span;
	__u32 offset; // in the span: what is before has been looked at
	__u32 first;  // where `saved` was
	__u32 at;     // byte of data that is next
	__u32 bytes;  // of data
	bool retry;
	bool other;     // what is no HTTP/1 was found
	bool foreign;   // and what turns the connection to another protocol
	bool continued; // a response with 100 was found
	bool lost;      // responses that could not be read, or are more than are looked at, are not found
	__u32 messages; // requests, or final responses, that were found
	__u32 waiting;  // requests that waited before
	__u64 heads;    // a bit for each of these requests: it is a HEAD
	__u64 first_began, last_began;
	__u16 codes[MAX_RESPONSES];
	__u8 data[DATA_BYTES + 24]; // as much is read ahead of the last byte
};

#define GET WORD('G', 'E', 'T', ' ')

enum { RECEIVE, SEND };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct scan);
} scans SEC(".maps");

enum found {
	FOUND_END,      // of the data
	FOUND_CONNECT,  // a whole request line with that method
	FOUND_RESPONSE, // a status line up to its code, which is in `word`
	FOUND_BODY,     // to be skipped
	FOUND_REST,     // a response's body that lasts until the connection ends
	FOUND_OTHER,    // what is no HTTP/1
	FOUND_FOREIGN,  // what turns the connection to another protocol for good
};

// Names of fields as hashes: each letter is added to 33 times what those before are.
#define BEGINNING(a, b, c) ((a) * 33 * 33 + (b) * 33 + (c))
#define NAME_CONTENT_LENGTH 0xbcf5aebe096383aaULL
#define NAME_TRANSFER_ENCODING 0xa28e1fa9935e2b19ULL
#define NAME_EXPECT 0xf453a949ULL

#define MAX_METHOD 255 // letters, which `bytes` can count; the longest that is registered has 17

static __always_inline __u8 lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

// is_token reports whether the byte may be one of a token (RFC 9110, 5.6.2), as methods and field names are.
static __always_inline bool is_token(__u8 c)
{
	const __u64 low = 0x3ff6cfa00000000, high = 0x57ffffffc7fffffe;

	return c < 128 && ((c < 64 ? low : high) >> (c & 63) & 1);
}

// newlines returns a word with the highest bit of its first byte set that is '\n', or 0.
static __always_inline __u64 newlines(__u64 word)
{
	const __u64 ones = 0x0101010101010101;

	word ^= ones * '\n';
	return (word - ones) & ~word & ones << 7;
}

// bytes_before returns how many bytes are before the lowest that is marked.
static __always_inline __u32 bytes_before(__u64 marks)
{
	const __u64 ones = 0x0101010101010101;

	return ((((marks - 1) & ~marks) >> 7 & ones) * ones) >> 56;
}

// append puts the first n bytes of next, 1 to 8, behind those of word, which loses as many.
static __always_inline __u64 append(__u64 word, __u64 next, __u32 n)
{
	return n >= 8 ? next : word >> (n * 8) | next << (64 - n * 8);
}

static __always_inline bool is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

// ends_request_line reports whether the last bytes of a line are those of an HTTP/1 version. Its letters may be
// of either case: a server that finds them wrong answers.
static __always_inline bool ends_request_line(__u64 last)
{
	__u64 version = last >> 56 == '\r' ? last & ~(0xffULL << 56) : last >> 8; // without H
	__u8 minor = version >> 48;

	return minor >= '0' && minor <= '9' && (version << 16 | 0x2020200000ULL) == LONG(0, 0, 't', 't', 'p', '/', '1', '.');
}

// ends_oddly reports whether the last bytes of a line are those of a version that some servers take: one with blanks behind
// it, or with more digits. Three bytes more than the usual fit. The function is global: so the verifier reads its loop once.
global int ends_oddly(__u64 last)
{
	const __u64 http = LONG('h', 't', 't', 'p', '/', '1', '.', 0);
	__u64 known = ~0ULL; // which bytes of `last` were of the line

	if (last >> 56 == '\r') {
		last <<= 8;
		known <<= 8;
	}
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u8 c = last >> 56, before = last >> 48;

		if (c == ' ' || (is_digit(c) && is_digit(before))) {
			last <<= 8;
			known <<= 8;
		}
	}
	known &= ~(0xffULL << 56);
	return is_digit(last >> 56) && ((last | 0x20202020) & known) == (http & known);
}

static __always_inline void head_ends(struct scanner *s)
{
	__u64 body = s->body;

	s->bytes = 0;
	if (s->flags & NO_BODY || !body) {
		s->stage = START;
	} else if (body == CHUNKED) {
		s->body = 0;
		s->stage = CHUNK_SIZE;
	} else if (body == UNTIL_CLOSED) {
		s->stage = LOST;
	} else {
		s->stage = BODY;
	}
}

static __always_inline enum found after_head(const struct scanner *s)
{
	return s->stage == BODY ? FOUND_BODY : s->stage == LOST ? FOUND_REST : FOUND_END;
}

// get_begins is what at_start and in_method do with "GET ".
static __always_inline void get_begins(struct scanner *s)
{
	s->flags &= UNSURE;
	s->body = 0;
	s->word = 0;
	s->began = bpf_ktime_get_ns();
	s->stage = TARGET;
}

// begins_name reports whether the name of a field that matters may begin with the byte.
static __always_inline bool begins_name(__u8 c)
{
	c |= 0x20;
	return c == 'c' || c == 't' || c == 'e';
}

// begins_field reports whether a line that begins with the bytes of the word may be a field that matters.
static __always_inline bool begins_field(__u64 word)
{
	word |= 0x2020202020202020; // in lower case
	return word == LONG('c', 'o', 'n', 't', 'e', 'n', 't', '-') || word == LONG('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') ||
	       (word & ~(0xffULL << 56)) == LONG('e', 'x', 'p', 'e', 'c', 't', ':', 0);
}

static __always_inline void body_ends(struct scanner *s)
{
	s->stage = s->stage == CHUNK ? CHUNK_END : START;
	s->bytes = 0;
}

static __always_inline void name_ends(struct scanner *s)
{
	switch (s->word) {
	case NAME_CONTENT_LENGTH:
		if (s->body == CHUNKED) { // which overrides a length
			s->stage = LINE;
			break;
		}
		s->body = 0;
		s->stage = LENGTH;
		break;
	case NAME_TRANSFER_ENCODING:
		s->word = 0;
		s->stage = CODING;
		break;
	case NAME_EXPECT:
		s->flags |= EXPECTS;
		s->stage = LINE;
		break;
	default:
		s->stage = LINE;
	}
}

static __always_inline enum found at_start(struct scanner *s, __u8 c)
{
	s->body = 0;
	s->bytes = 0;
	if (s->flags & RESPONSES) {
		if (c != 'H')
			return FOUND_OTHER;
		s->flags &= RESPONSES | UNSURE;
		s->bytes = 1;
		s->body = UNTIL_CLOSED;
		s->stage = STATUS;
		return FOUND_END;
	}
	if (c == '\r' || c == '\n')
		return FOUND_END; // a server ignores empty lines (RFC 9112, 2.2)
	s->flags &= UNSURE;
	s->word = 0;
	if (c == 0) {
		s->stage = PROXY2; // its signature begins with two empty lines
		return FOUND_END;
	}
	if (c == 0x16)
		return FOUND_FOREIGN; // TLS: the record of a ClientHello
	if (!is_token(c))
		return FOUND_OTHER;
	s->began = bpf_ktime_get_ns();
	s->word = c;
	s->bytes = 1;
	s->stage = METHOD;
	return FOUND_END;
}

static __always_inline enum found in_method(struct scanner *s, __u8 c)
{
	__u64 word = s->word;

	if (c == ' ') {
		if (word == ('P' << 16 | 'R' << 8 | 'I'))
			return FOUND_FOREIGN; // the preface of HTTP/2
		if (word == ('H' << 24 | 'E' << 16 | 'A' << 8 | 'D'))
			s->flags |= IS_HEAD;
		else if (word == ((__u64)'C' << 48 | (__u64)'O' << 40 | (__u64)'N' << 32 | (__u64)'N' << 24 | 'E' << 16 | 'C' << 8 | 'T'))
			s->flags |= IS_CONNECT;
		else if (word == ((__u64)'P' << 32 | (__u64)'R' << 24 | 'O' << 16 | 'X' << 8 | 'Y'))
			s->flags |= IS_PROXY;
		s->word = 0;
		s->stage = TARGET;
		return FOUND_END;
	}
	if (!is_token(c) || s->bytes >= MAX_METHOD)
		return FOUND_OTHER;
	s->bytes++;
	s->word = word << 8 | c;
	return FOUND_END;
}

static __always_inline enum found in_status(struct scanner *s, __u8 c)
{
	__u32 i = s->bytes;

	s->bytes = i + 1;
	if (i < 7)
		return c == (__u8)(LONG('H', 'T', 'T', 'P', '/', '1', '.', 0) >> (i & 7) * 8) ? FOUND_END : FOUND_OTHER;
	if (i == 8) {
		s->word = 0;
		return c == ' ' ? FOUND_END : FOUND_OTHER;
	}
	if (c < '0' || c > '9' || (i == 7 && c > '1') || (i == 9 && c == '0'))
		return FOUND_OTHER;
	s->word = s->word * 10 + c - '0';
	if (i < 11)
		return FOUND_END;
	s->stage = LINE;
	return FOUND_RESPONSE;
}

static __always_inline enum found in_proxy2(struct scanner *s, __u8 c)
{
	__u32 i = s->bytes;

	s->bytes = i + 1;
	if (i < 7)
		return c == (__u8)(LONG('\r', '\n', 'Q', 'U', 'I', 'T', '\n', 0) >> (i & 7) * 8) ? FOUND_END : FOUND_OTHER;
	if (i < 9)
		return FOUND_END; // version, command, family
	s->body = s->body << 8 | c;
	if (i == 9)
		return FOUND_END;
	s->stage = BODY; // the addresses
	if (s->body)
		return FOUND_BODY;
	body_ends(s);
	return FOUND_END;
}

static __always_inline void size_ends(struct scanner *s)
{
	s->stage = s->body ? CHUNK : TRAILER_START;
}

// at_byte takes the next byte of a stage that goes byte by byte.
static __always_inline enum found at_byte(struct scanner *s, __u8 c)
{
	__u16 folds;

	switch (s->stage) {
	case START:
		return at_start(s, c);
	case METHOD:
		return in_method(s, c);
	case STATUS:
		return in_status(s, c);
	case PROXY2:
		return in_proxy2(s, c);
	case LINE_START:
		folds = s->flags & (LENGTH_FOLDS | CODING_FOLDS);
		if (folds) {
			s->flags &= ~(LENGTH_FOLDS | CODING_FOLDS);
			if (c == ' ' || c == '\t') {
				s->stage = folds & LENGTH_FOLDS ? LENGTH : CODING;
				break;
			}
		}
		if (c == '\n') {
			head_ends(s);
			return after_head(s);
		}
		if (c == '\r')
			break;
		s->word = lower(c);
		s->bytes = 1;
		s->stage = begins_name(c) ? NAME : LINE;
		break;
	case NAME:
		if (c == ':') {
			name_ends(s);
			break;
		}
		if (c == '\n') {
			s->stage = LINE_START;
			break;
		}
		s->word = s->word * 33 + lower(c);
		s->bytes++;
		if (s->bytes == 3 && s->word != BEGINNING('c', 'o', 'n') && s->word != BEGINNING('t', 'r', 'a') && s->word != BEGINNING('e', 'x', 'p'))
			s->stage = LINE;
		break;
	case LENGTH:
		if (c >= '0' && c <= '9')
			s->body = (s->body * 10 + c - '0') & ~(1ULL << 63);
		else if (c == ',') // the same number again
			s->stage = LINE;
		if (c == '\n') {
			if (!s->body)
				s->flags |= LENGTH_FOLDS;
			s->stage = LINE_START;
		}
		break;
	case CODING:
		if (c == '\n') {
			if ((s->word & ~(0xffULL << 56)) == ((__u64)WORD('d', 'e', 'k', 'n') | (__u64)WORD('u', 'h', 'c', 0) << 32))
				s->body = CHUNKED; // the last coding
			else
				s->flags |= CODING_FOLDS;
			s->stage = LINE_START;
		} else if (c > ' ') {
			s->word = s->word << 8 | lower(c);
		}
		break;
	case CHUNK_SIZE:
		s->flags &= ~EXPECTS;
		if (c == '\n') {
			size_ends(s);
			return s->stage == CHUNK ? FOUND_BODY : FOUND_END;
		}
		c = lower(c);
		if (c >= '0' && c <= '9')
			s->body = s->body << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			s->body = s->body << 4 | (c - 'a' + 10);
		else if (c == ';' || c == ' ' || c == '\t' || c == '\r')
			s->stage = CHUNK_LINE;
		else
			return FOUND_OTHER;
		break;
	case CHUNK_LINE:
		if (c == '\n') {
			size_ends(s);
			return s->stage == CHUNK ? FOUND_BODY : FOUND_END;
		}
		break;
	case CHUNK_END:
		if (c == '\n') {
			s->body = 0;
			s->stage = CHUNK_SIZE;
		} else if (c != '\r') {
			return FOUND_OTHER;
		}
		break;
	case TRAILER_START:
		if (c == '\n')
			s->stage = START;
		else if (c != '\r')
			s->stage = TRAILER;
		break;
	case TRAILER:
		if (c == '\n')
			s->stage = TRAILER_START;
		break;
	default: // a body, which the caller skips
		return FOUND_OTHER;
	}
	return FOUND_END;
}

// found_request notes a request line.
static __always_inline void found_request(struct scan *scan)
{
	__u32 n = scan->messages;

	scan->retry = false;
	scan->s.body = 0;
	if (scan->s.flags & ANSWERED)
		return; // it was noted then
	if (!n)
		scan->first_began = scan->s.began;
	scan->last_began = scan->s.began;
	if (scan->s.flags & IS_HEAD && n < 64)
		scan->heads |= 1ULL << n;
	scan->messages = n + 1;
}

// request_line_ends takes the end of a request line.
static __always_inline enum found request_line_ends(struct scan *scan)
{
	struct scanner *s = &scan->s;

	s->flags &= ~UNSURE;
	s->stage = LINE_START;
	found_request(scan);
	// What follows a CONNECT is not HTTP, or not before the answer.
	return s->flags & IS_CONNECT ? FOUND_CONNECT : FOUND_END;
}

// line_ends takes the end of a line that was passed over.
static __always_inline enum found line_ends(struct scan *scan)
{
	struct scanner *s = &scan->s;

	if (s->stage == LINE) {
		s->stage = LINE_START;
		return FOUND_END;
	}
	if (ends_request_line(s->word))
		return request_line_ends(scan);
	if (s->flags & IS_PROXY) {
		s->stage = START;
		return FOUND_END;
	}
	return FOUND_OTHER;
}

#define BYTES_A_CALL 6
#define WORDS_A_CALL 16
#define CALLS 8

// scan_bytes goes through the data byte by byte, up to where something is found, or to the next that goes by words.
global int scan_bytes(__u32 direction)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);

	if (!scan)
		return FOUND_OTHER;
	for (int i = 0; i < BYTES_A_CALL; i++) {
		__u32 at = *(volatile __u32 *)&scan->at;
		enum found found;

		if (at >= scan->bytes || at >= DATA_BYTES)
			break;
		*(volatile __u32 *)&scan->at = at + 1;
		found = at_byte(&scan->s, scan->data[at]);
		if (found != FOUND_END)
			return found;
		if (scan->s.stage == LINE || scan->s.stage == TARGET)
			break;
	}
	return FOUND_END;
}

// find_some goes through the data by words, up to where something is found.
global int find_some(__u32 direction)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);

	if (!scan)
		return FOUND_OTHER;
	for (int i = 0; i < WORDS_A_CALL; i++) {
		volatile __u32 *position = &scan->at;
		__u8 stage = *(volatile __u8 *)&scan->s.stage;
		__u32 at = *position, left = scan->bytes - at, n;
		__u64 word, marks;
		int found;

		if (at >= scan->bytes || at >= DATA_BYTES)
			break;
		word = *(__u64 *)(scan->data + at);
		if (stage == START && left >= 4 && (__u32)word == GET && !(scan->s.flags & RESPONSES)) {
			get_begins(&scan->s);
			*position = at + 4;
			continue;
		}
		if (stage != LINE && stage != TARGET) {
			found = scan_bytes(direction);
			if (found != FOUND_END)
				return found;
			continue;
		}
		marks = newlines(word);
		n = marks ? bytes_before(marks) : 8;
		if (n >= left) {
			n = left;
			marks = 0;
		}
		if (stage == TARGET && n)
			scan->s.word = append(scan->s.word, word, n);
		if (!marks) {
			*position = at + n;
			continue;
		}
		at += n + 1;
		*position = at;
		found = line_ends(scan);
		if (found != FOUND_END)
			return found;
		if (left >= n + 3 && scan->s.stage == LINE_START) {
			word = *(__u64 *)(scan->data + (at & (DATA_BYTES - 1)));
			if ((__u16)word == ('\r' | '\n' << 8)) {
				*position = at + 2;
				head_ends(&scan->s);
				found = after_head(&scan->s);
				if (found != FOUND_END)
					return found;
			} else if (left >= n + 9 && (__u8)word > '\r' && !begins_field(word)) {
				scan->s.stage = LINE;
			}
		}
	}
	return FOUND_END;
}

// find goes through the data up to where something is found. The verifier reads find_some once, however often it is called:
// so it reads an eighth of the turns.
static __always_inline int find(struct scan *scan, __u32 direction)
{
	int found = FOUND_END;

	for (int i = 0; i < CALLS; i++) {
		found = find_some(direction);
		if (found != FOUND_END || scan->at >= scan->bytes)
			break;
	}
	return found;
}

// scan_begins makes a scanner ready for a read or a write.
static __always_inline void scan_begins(struct scan *scan)
{
	scan->messages = 0;
	scan->heads = 0;
	scan->continued = scan->retry = scan->other = scan->foreign = scan->lost = false;
}

// found_response notes a status line, and returns whether it matters where the response ends: when it is an interim one,
// or when others are to follow.
static __always_inline bool found_response(struct scan *scan)
{
	__u32 code = scan->s.word, n = scan->messages;

	if (code < 200 && code != 101) {
		scan->continued |= code == 100;
		scan->s.flags |= NO_BODY;
		return true;
	}
	if (n >= MAX_RESPONSES) {
		scan->lost = true;
		return false;
	}
	scan->codes[n & (MAX_RESPONSES - 1)] = code;
	scan->messages = n + 1;
	if (scan->waiting <= n + 1 || code == 101)
		return false;
	if (scan->heads >> (n & 63) & 1 || code == 204 || code == 304)
		scan->s.flags |= NO_BODY;
	return true;
}

// perhaps_body reports whether what looks like the start of a request line may be of the body that was announced: `body` has the
// bytes of it that are to come, which a request line has no use for.
static __always_inline bool perhaps_body(const struct scanner *s)
{
	return (s->stage == METHOD || s->stage == TARGET) && s->flags & UNSURE && s->body;
}

// go_back takes what was scanned since `first` for what `saved` says.
static __always_inline void go_back(struct scan *scan)
{
	scan->retry = false;
	scan->s = scan->saved;
	scan->offset = scan->first;
}

// undecided takes the end of a span that began amid an announced body, or with a request instead, and may be either yet. As much as
// was announced is the body.
static __always_inline void undecided(struct scan *scan)
{
	__u32 n = scan->offset - scan->first;

	if (n >= scan->saved.body) {
		go_back(scan);
		return;
	}
	if (scan->s.stage != METHOD && scan->s.stage != TARGET)
		return;
	scan->saved.body -= n;
	scan->first = 0; // of the next span
	scan->s.body = scan->saved.body;
	scan->s.flags |= UNSURE;
}

// scan_data goes through the data up to where something is found, and notes that. It returns whether there may be more of
// interest.
global int scan_data(__u32 direction)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);
	int found;
	__u32 n;

	if (!scan)
		return false;
	if (scan->s.stage == LOST) {
		scan->s.stage = START;
		scan->s.flags |= UNSURE;
	}
	found = find(scan, direction);
	// Few lines end so: it is looked at here, and not in find_some, which every request goes through.
	if (found == FOUND_OTHER && scan->s.stage == TARGET && ends_oddly(scan->s.word))
		found = request_line_ends(scan);
	n = scan->at;
	if (n > scan->bytes)
		n = scan->bytes;
	scan->offset += n;
	switch (found) {
	case FOUND_CONNECT:
	case FOUND_REST:
		break;
	case FOUND_RESPONSE:
		if (found_response(scan))
			return true;
		scan->s.stage = LOST;
		return false;
	case FOUND_OTHER:
	case FOUND_FOREIGN:
		if (scan->retry) {
			go_back(scan);
			return true;
		}
		scan->other = true;
		scan->foreign |= found == FOUND_FOREIGN;
		break;
	default:
		if (scan->retry && scan->saved.stage == BODY && scan->offset >= scan->span.len)
			undecided(scan);
		return true;
	}
	scan->s.stage = LOST; // up to the next buffer
	scan->offset = scan->span.len;
	return true;
}

// pass_body passes over what there is of a body, or of a chunk.
global int pass_body(__u32 direction)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);
	__u64 n;

	if (!scan)
		return 0;
	n = scan->span.len - scan->offset;
	if (n > scan->s.body)
		n = scan->s.body;
	scan->offset += n;
	scan->s.body -= n;
	scan->s.flags &= ~EXPECTS;
	if (!scan->s.body)
		body_ends(&scan->s);
	return 0;
}
