// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// What the first bytes of a request and of a response say. Pure functions of the bytes,
// so that parse_test.bpf.c can run them over a table.
#pragma once

#include "types.h"

// head is the start of what a socket read or wrote, at most HEAD_BYTES of it, as two little-endian
// words: registers compare, shift and join them without a variable offset into memory.
struct head {
	__u64 low;   // bytes 0 to 7
	__u32 high;  // bytes 8 to 11
	__u32 bytes; // how many are known; those beyond are zero
};

#define HEAD_BYTES 12    // "HTTP/1.1 200"
#define REQUEST_BYTES 8  // enough to tell a method: none that is shorter than 8 letters goes without its space

#define WORD(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)
#define LONG(a, b, c, d, e, f, g, h) ((__u64)WORD(a, b, c, d) | (__u64)WORD(e, f, g, h) << 32)

#define GET WORD('G', 'E', 'T', ' ')

enum verdict {
	NOT_HTTP,
	PARTIAL, // so far it could be: more bytes will tell
	REQUEST,
	REQUEST_HEAD,    // whose response has no body
	REQUEST_CONNECT, // whose 2xx response turns the connection into a tunnel
};

// keep_bytes zeroes what lies behind the first n bytes of a word.
static inline __attribute__((always_inline)) __u64 keep_bytes(__u64 word, __u32 n)
{
	return n >= 8 ? word : word & ((1ULL << (n * 8)) - 1);
}

// head_append puts the bytes of next behind those of h, as far as they fit.
static inline __attribute__((always_inline)) void head_append(struct head *h, const struct head *next)
{
	__u32 at = h->bytes;

	if (at == 0) {
		*h = *next;
		return;
	}
	if (at < 8) {
		h->low |= next->low << (at * 8);
		h->high = (__u32)(next->low >> (64 - at * 8));
		if (at < 4)
			h->high |= next->high << (at * 8);
	} else if (at < HEAD_BYTES) {
		h->high |= (__u32)next->low << ((at - 8) * 8);
	}
	h->bytes = at + next->bytes;
	if (h->bytes > HEAD_BYTES)
		h->bytes = HEAD_BYTES;
}

// request_verdict tells whether the bytes begin a request line. Any method of three or more
// capitals counts, WebDAV's and a cache's PURGE too: what is no HTTP after all is not
// counted, because no status line answers it.
static inline __attribute__((always_inline)) enum verdict request_verdict(const struct head *h)
{
	__u64 word = h->low;

	if ((__u32)word == GET)
		return REQUEST;
	if ((__u32)word == WORD('P', 'R', 'I', ' ')) // the preface of HTTP/2
		return NOT_HTTP;
	if (h->bytes >= 5 && (word & 0xffffffffff) == LONG('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return REQUEST_HEAD;
	if (word == LONG('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return REQUEST_CONNECT;
	for (__u32 i = 0; i < REQUEST_BYTES; i++) {
		__u8 c = word;

		if (i == h->bytes)
			return PARTIAL;
		if (c == ' ')
			return i >= 3 ? REQUEST : NOT_HTTP;
		if ((c < 'A' || c > 'Z') && c != '-')
			return NOT_HTTP;
		word >>= 8;
	}
	return REQUEST;
}

#define STATUS_PARTIAL (-1)
#define STATUS_NONE 0

// status_code returns the code of the status line that the bytes begin (100 to 999),
// STATUS_NONE when they begin none, or STATUS_PARTIAL.
static inline __attribute__((always_inline)) int status_code(const struct head *h)
{
	const __u64 http1 = LONG('H', 'T', 'T', 'P', '/', '1', '.', 0);
	__u32 a, b, c;
	__u8 minor;

	if (h->bytes < 8) {
		if (h->bytes == 0 || h->low != keep_bytes(http1, h->bytes))
			return STATUS_NONE;
		return STATUS_PARTIAL;
	}
	if ((h->low & ~(0xffULL << 56)) != http1)
		return STATUS_NONE;
	minor = h->low >> 56;
	if (minor != '0' && minor != '1')
		return STATUS_NONE;
	if (h->bytes > 8 && (h->high & 0xff) != ' ')
		return STATUS_NONE;
	if (h->bytes < HEAD_BYTES)
		return STATUS_PARTIAL;
	a = (h->high >> 8 & 0xff) - '0';
	b = (h->high >> 16 & 0xff) - '0';
	c = (h->high >> 24) - '0';
	if (a < 1 || a > 9 || b > 9 || c > 9)
		return STATUS_NONE;
	return a * 100 + b * 10 + c;
}
