// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// The kernel's names for integers, and the constants of the BPF system call that the programs
// name. They are stable ABI: no kernel headers are needed to build.
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_SK_STORAGE = 24,
};

enum {
	BPF_NOEXIST = 1, // flag of bpf_map_update_elem
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_SK_STORAGE_GET_F_CREATE = 1U << 0,
};

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// count adds one to a counter that other CPUs, and programs that preempt this one, add to as well.
#define count(counter) ((void)__sync_fetch_and_add(&(counter), 1))
#define add(counter, n) ((void)__sync_fetch_and_add(&(counter), n))
#define count_down(counter) ((void)__sync_fetch_and_add(&(counter), -1))

// either returns one of two words of a context, or of registers. Without the barriers clang makes it
// one load at a computed address, which the verifier refuses: "dereference of modified ctx ptr".
#define either(first, a, b)                             \
	({                                              \
		__u64 value;                            \
		if (first) {                            \
			value = (a);                    \
			asm volatile("" : "+r"(value)); \
		} else {                                \
			value = (b);                    \
			asm volatile("" : "+r"(value)); \
		}                                       \
		value;                                  \
	})
