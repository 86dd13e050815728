// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Where the buffers of a message lie, as struct iov_iter of the kernels since 5.10 says it:
// iter_type was a bit of `type` until 5.13, ITER_UBUF came with 6.0, and `iov` became `__iov` in 6.4.
#pragma once

#include "kernel.h"

// Whether the verifier knows the types of the kernel's memory that the programs are given, so that
// a field is read by a load: true for programs on tracepoints. Set by the loader.
volatile const bool typed;

// field reads a field of a kernel's object.
#define field(object, name) (typed ? (object)->name : BPF_CORE_READ(object, name))

// buffers are the pieces of a user's memory that a message consists of.
struct buffers {
	__u64 base;  // of the first buffer, from where nothing has been taken yet
	__u64 len;   // bytes of it from there on
	__u64 count; // bytes from there on, of all buffers
	__u64 iov;   // address of the first iovec; 0 if there is one buffer only
	__u64 more;  // buffers after the first
};

static __always_inline bool is_ubuf(const struct iov_iter *iter)
{
	return bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	       field(iter, iter_type) == bpf_core_enum_value(enum iter_type, ITER_UBUF);
}

static __always_inline bool is_iovec(const struct iov_iter *iter)
{
	if (bpf_core_field_exists(struct iov_iter, iter_type))
		return field(iter, iter_type) == bpf_core_enum_value(enum iter_type, ITER_IOVEC);
	return BPF_CORE_READ((const struct iov_iter___type *)iter, type) & bpf_core_enum_value(enum iter_type, ITER_IOVEC);
}

static __always_inline __u64 iter_iov(const struct iov_iter *iter)
{
	if (bpf_core_field_exists(struct iov_iter, __iov))
		return (__u64)field(iter, __iov);
	return (__u64)BPF_CORE_READ((const struct iov_iter___iov *)iter, iov);
}

// read_iovec reads an iovec that lies in the kernel's memory. A field of struct iov_iter that is in a
// union has no type for the verifier of kernels before 6.17: so even typed programs cast the address.
static __always_inline bool read_iovec(__u64 address, struct iovec *v)
{
	const struct iovec *at;

	if (!typed)
		return !bpf_probe_read_kernel(v, sizeof(*v), (void *)address);
	at = bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct iovec));
	v->iov_base = at->iov_base;
	v->iov_len = at->iov_len;
	return true;
}

// iter_begins reads an iterator that is yet to be advanced. It returns false if its buffers are
// not in a user's memory.
static __always_inline bool iter_begins(const struct iov_iter *iter, struct buffers *b)
{
	struct iovec first = {};
	__u64 skip = field(iter, iov_offset);

	b->count = field(iter, count);
	b->iov = 0;
	b->more = 0;
	if (is_ubuf(iter)) {
		b->base = (__u64)field(iter, ubuf) + skip;
		b->len = b->count;
		return true;
	}
	if (!is_iovec(iter))
		return false;
	b->iov = iter_iov(iter);
	if (!read_iovec(b->iov, &first))
		return false;
	b->base = (__u64)first.iov_base + skip;
	b->len = first.iov_len - skip;
	if (b->len > b->count)
		b->len = b->count;
	b->more = field(iter, nr_segs) - 1;
	return true;
}
