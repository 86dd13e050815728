// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// The few kernel types that the programs touch, instead of a vmlinux.h of 2.8 MB.
// Only names matter here: CO-RE looks up each field in the BTF of the running kernel,
// through anonymous structs and unions, and relocates the access. A type whose name ends in
// ___ and a word is the same type in other kernels.
#pragma once

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	__u8 bytes[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__u16 skc_num; // local port, host order
	__be16 skc_dport;
	unsigned short skc_family;
	struct {
		struct net *net;
	} skc_net; // possible_net_t
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
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
	__u32 rcv_nxt;    // of the next byte to be received
	__u64 bytes_sent;
	__u64 bytes_received; // and acknowledged: all before rcv_nxt
	__u32 data_segs_in;   // segments received that have data
};

struct sk_buff {
	struct sock *sk;
	char cb[48];
	unsigned int len;
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

struct iov_iter___type { // until 5.13: a bit for the type, and one for the direction
	unsigned int type;
};

struct iov_iter___iov { // until 6.3
	const struct iovec *iov;
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
	__u64 start_time; // nanoseconds of the monotonic clock
};

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

struct pt_regs___x86 {
	unsigned long di, si, cx, r8;
};

struct pt_regs___arm64 {
	__u64 regs[31];
};

#pragma clang attribute pop

struct bpf_dynptr {
	__u64 opaque[2];
};

extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;

// bpf_rdonly_cast becomes a plain move: a load through its result is an instruction, where
// bpf_probe_read_kernel is a call and 40 ns.
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

// States of a socket (include/net/tcp_states.h).
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

#define IPPROTO_TCP 6
#define MSG_PEEK 0x2
#define S_IFMT 0170000
#define S_IFSOCK 0140000

// The arguments of a function that a kprobe is on. In the registers of another architecture they
// do not exist, and the verifier never comes to where they are read.
#define ARGUMENT(n, x86)                                                               \
	static __always_inline __u64 argument_##n(void *registers)                     \
	{                                                                              \
		return either(bpf_core_field_exists(struct pt_regs___x86, di),         \
			      ((struct pt_regs___x86 *)registers)->x86,                \
			      ((struct pt_regs___arm64 *)registers)->regs[n - 1]);     \
	}

ARGUMENT(1, di)
ARGUMENT(2, si)
ARGUMENT(4, cx)
ARGUMENT(5, r8)
