// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Runs both parsers of a status line over heads that the test puts into its context: that of a head as a whole, and that of
// a stream's bytes, one by one.

#include "types.h"
#include <bpf/bpf_helpers.h>
#include "scan.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct parse_context {
	struct head head;
	__s32 status;
	__s32 scanned;
};

static __always_inline int scan_head(const struct head *h)
{
	struct scanner s = {.stage = START, .flags = RESPONSES};
	enum found found = h->bytes ? FOUND_END : FOUND_OTHER;

#pragma unroll
	for (int i = 0; i < HEAD_BYTES; i++) {
		if (i < h->bytes && found == FOUND_END)
			found = at_byte(&s, i < 8 ? h->low >> i * 8 : h->high >> (i - 8) * 8);
	}
	return found == FOUND_RESPONSE ? s.word : found == FOUND_END ? STATUS_PARTIAL : STATUS_NONE;
}

SEC("syscall")
int parse(struct parse_context *ctx)
{
	struct head h = ctx->head;

	ctx->status = status_code(&h);
	ctx->scanned = scan_head(&h);
	return 0;
}
