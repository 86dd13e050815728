// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Runs the parser over heads that the test puts into its context.

#include "types.h"
#include <bpf/bpf_helpers.h>
#include "parse.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct parse_context {
	struct head first;
	struct head second; // appended to the first
	__u32 verdict;
	__s32 status;
	struct head joined;
};

SEC("syscall")
int parse(struct parse_context *ctx)
{
	struct head h = ctx->first, next = ctx->second;

	if (next.bytes)
		head_append(&h, &next);
	ctx->verdict = request_verdict(&h);
	ctx->status = status_code(&h);
	ctx->joined = h;
	return 0;
}
