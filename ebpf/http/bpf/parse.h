// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// What the first bytes of a response say: a pure function of them, so that parse_test.bpf.c can run it over a table.
#pragma once

#include "types.h"

// head is the start of what a socket read or wrote, at most HEAD_BYTES of it, as two little-endian
// words: registers compare, shift and join them without a variable offset into memory.
struct head {
	__u64 low;   // bytes 0 to 7
	__u32 high;  // bytes 8 to 11
	__u32 bytes; // how many are known; those beyond are zero
};

#define HEAD_BYTES 12 // "HTTP/1.1 200"

#define WORD(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)
#define LONG(a, b, c, d, e, f, g, h) ((__u64)WORD(a, b, c, d) | (__u64)WORD(e, f, g, h) << 32)

// keep_bytes zeroes what lies behind the first n bytes of a word.
static inline __attribute__((always_inline)) __u64 keep_bytes(__u64 word, __u32 n)
{
	return n >= 8 ? word : word & ((1ULL << (n * 8)) - 1);
}

#define STATUS_PARTIAL (-1)
#define STATUS_NONE 0
#define STATUS_UNREADABLE (-2) // of those who read the bytes for status_code

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
