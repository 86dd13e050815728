// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Runs the parser over heads that the test puts into its context.

#include "types.h"
#include <bpf/bpf_helpers.h>
#include "parse.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct parse_context {
	struct head head;
	__s32 status;
	__u32 zero;
};

SEC("syscall")
int parse(struct parse_context *ctx)
{
	struct head h = ctx->head;

	ctx->status = status_code(&h);
	return 0;
}
