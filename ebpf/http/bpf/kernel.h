// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// The few kernel types that the programs touch, instead of a vmlinux.h of 2.8 MB.
// Only names matter here: CO-RE looks up each field in the BTF of the running kernel,
// through anonymous structs and unions, and relocates the access.
#pragma once

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u16 skc_num; // local port, host order
	__be16 skc_dport;
	volatile unsigned char skc_state;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct bpf_local_storage *sk_bpf_storage;
};

struct tcp_sock {
	__u32 copied_seq; // first byte that the reader has not been given yet
	__u32 write_seq;  // of the next byte to be written
	__u64 bytes_sent;
};

struct sk_buff {
	struct sock *sk;
	char cb[48];
	unsigned int len;
	unsigned int data_len; // of len, what lies in page fragments
	unsigned char *data;
};

struct tcp_skb_cb {
	__u32 seq;
};

enum iter_type {
	ITER_UBUF,
	ITER_IOVEC,
};

struct iovec {
	void *iov_base;
	unsigned long iov_len;
};

struct iov_iter {
	__u8 iter_type;
	unsigned long iov_offset;
	const struct iovec *__iov;
	void *ubuf;
	unsigned long count;
	unsigned long nr_segs;
};

struct msghdr {
	struct iov_iter msg_iter;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

struct task_struct {
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	char comm[16];
};

// The registers of a system call on x86-64: where there are others, the program that reads them
// does not load.
struct pt_regs___x86 {
	unsigned long si;
	unsigned long dx;
	unsigned long orig_ax;
};

struct user_msghdr {
	struct iovec *msg_iov;
	unsigned long msg_iovlen;
};

struct socket {
	struct sock *sk;
};

struct file;

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#pragma clang attribute pop

struct bpf_dynptr {
	__u64 opaque[2];
};

extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u64 offset, void *buffer, __u64 buffer__szk) __ksym __weak;

// bpf_rdonly_cast becomes a plain move: a load through its result is an instruction, where
// bpf_probe_read_kernel is a call and 40 ns.
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

// System calls of x86-64 that write to a socket.
#define SYS_WRITE 1
#define SYS_WRITEV 20
#define SYS_SENDTO 44
#define SYS_SENDMSG 46

#define IPPROTO_TCP 6
#define TCP_LISTEN 10
