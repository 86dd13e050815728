// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// What TCP does for each process: connections, failures, resets, retransmissions, bytes.
//
// The kernel itself counts what each socket retransmits, receives and sends. So nothing runs when it does. A
// program runs when a socket changes its state. It notes whose each socket is, and when a socket is closed it adds
// what that socket has counted to what the process has. Another one adds up what the sockets have counted that are
// open, when it is asked to. What user space exposes is the sum of both.
//
// Most states change in softirq, where the current process is anybody. In the process itself are: the beginning of
// a connect, a listen, and a close. Nothing tells of an accept. But the file of the accepted socket has the
// credentials of who made it, and each process has credentials of its own (copy_creds in kernel/cred.c): the map
// creds has them. A connection that nobody has accepted is the listener's. When a process ends, its sockets are those
// of another one that has them, too.
//
// Sets of programs do the same: tracepoints, and kprobes on the functions that those are in, for kernels that let a task
// be preempted within the former.

#include "iter.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common___tcp {
	__u16 skc_num;   // local port
	__be16 skc_dport;
	__u32 skc_hash; // of the addresses and ports
	volatile unsigned char skc_state;
	unsigned long skc_flags;
};

struct cred {
	int any;
};

struct file___tcp {
	const struct cred *f_cred;
	struct inode *f_inode;
	void *private_data;
};

typedef enum {
	SS_FREE,
	SS_UNCONNECTED, // also while a connect begins
} socket_state;

struct socket___tcp {
	socket_state state;
	struct file___tcp *file;
	struct sock___tcp *sk;
};

struct sock___tcp {
	struct sock_common___tcp __sk_common;
	__u16 sk_protocol;
	int sk_err;
	__u8 sk_shutdown;
	atomic_t sk_drops;
	struct socket___tcp *sk_socket; // NULL until it is accepted, and once it is closed
};

struct list_head {
	struct list_head *next;
};

struct tcp_sock___tcp {
	__u32 total_retrans; // segments
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 srtt_us; // smoothed round-trip time, in 2^-3 us; 0 before the first
	__u32 snd_una;	 // the first that is not acknowledged
	__u32 snd_nxt;	 // the next to be sent
	__u32 write_seq; // the next to be written
	struct list_head tsorted_sent_queue;
};

// mptcp_sock is what a process has of an MPTCP connection, or of a listener for such.
struct mptcp_sock {
	struct sock___tcp *first; // of its TCP sockets
};

struct task_struct___tcp {
	int pid;
	int tgid;
	struct task_struct___tcp *group_leader;
	struct signal_struct *signal;
	const struct cred *real_cred;
	char comm[16];
	__u64 start_time; // nanoseconds of the monotonic clock
};

struct seq_file {
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct___tcp *task;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
};

#pragma clang attribute pop

#define IPPROTO_MPTCP 262
#define SHUTDOWN_MASK 3
#define SOCK_DONE 1 // a bit of skc_flags: a FIN has come

// What include/uapi/asm-generic/errno.h has.
enum {
	EPIPE = 32,
	ENETUNREACH = 101,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
	ECONNREFUSED = 111,
	EHOSTUNREACH = 113,
};

// ---- processes ----

// What is counted of a process.
enum counter {
	CONNECTIONS_IN,
	CONNECTIONS_OUT,
	FAILED_REFUSED,
	FAILED_TIMEOUT,
	FAILED_UNREACHABLE,
	FAILED_ABANDONED,
	FAILED_OTHER,
	RESETS_RECEIVED,
	RESETS_SENT,
	RETRANSMITS,
	LISTEN_DROPS,
	BYTES_RECEIVED,
	BYTES_SENT,
	ROUND_TRIPS,
	ROUND_TRIP_MICROSECONDS,
	COUNTERS,
};

struct process {
	__u64 counters[COUNTERS];
	char comm[16]; // when it was first seen
};

// An owner is a process: its tgid in the lowest 22 bits (PID_MAX_LIMIT), above them when it began, in 2^20 ns of the
// monotonic clock. A word is written at once. 0 is nobody: what has no owner counts for the host alone.
#define OWNER_BITS 22
#define START_SHIFT 20

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct process);
} processes SEC(".maps");

__u64 lost_processes; // no room: what they do is the host's

struct living {
	__u64 owner;
	__u64 cred; // the address of its credentials
	char comm[16];
};

// creds has the process for the address of credentials: of its own, or of a thread that has others. User space keeps it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct living);
} creds SEC(".maps");

static __always_inline __u64 owner_id(__u64 start, __u32 tgid)
{
	return start >> START_SHIFT << OWNER_BITS | tgid;
}

static __always_inline __u64 owner_of(const struct task_struct___tcp *task)
{
	return owner_id(BPF_CORE_READ(task, group_leader, start_time), BPF_CORE_READ(task, tgid));
}

// known makes sure that what the process does can be counted.
static __noinline int known(__u64 owner, const void *comm)
{
	struct process fresh = {};

	if (bpf_map_lookup_elem(&processes, &owner))
		return 0;
	bpf_probe_read_kernel(fresh.comm, sizeof(fresh.comm), comm);
	if (bpf_map_update_elem(&processes, &owner, &fresh, BPF_NOEXIST) && !bpf_map_lookup_elem(&processes, &owner))
		count(lost_processes);
	return 0;
}

static __always_inline const void *comm_of(const struct task_struct___tcp *task)
{
	return (void *)BPF_CORE_READ(task, group_leader) + bpf_core_field_offset(struct task_struct___tcp, comm);
}

// current_owner returns who runs this, whose doings are counted from then on.
static __always_inline __u64 current_owner(void)
{
	const struct task_struct___tcp *task = (void *)bpf_get_current_task();
	__u64 owner = owner_of(task);

	known(owner, comm_of(task));
	return owner;
}

// counts_of returns what is counted of an owner. One that has ended has none any more: then, of the host.
static __always_inline struct process *counts_of(__u64 owner)
{
	struct process *p = bpf_map_lookup_elem(&processes, &owner);
	__u64 nobody = 0;

	return p ? p : bpf_map_lookup_elem(&processes, &nobody);
}

// ---- sockets ----

// generation is of what is added up. User space counts it up each time.
volatile __u64 generation;

// unowned_in is the last generation in which a connection came, or was looked at, of which it was not known who accepts
// it: then user space looks who there is.
volatile __u64 unowned_in;

static __always_inline void unowned(void)
{
	if (unowned_in != generation)
		unowned_in = generation;
}

enum role {
	LISTENER,
	INCOMING,
	OUTGOING,
};

// connection is what is known of a socket that is not closed.
struct connection {
	__u64 owner;
	__u64 identity;      // of an established connection: see identity_of
	__u64 base_received; // what the socket had counted before
	__u64 base_sent;
	__u32 base_retransmits;
	__u32 base_drops;
	__u64 visited;	     // the last generation in which it was looked at
	__u64 last_received; // what it had counted then
	__u64 last_sent;
	__u64 last_acked; // of the socket's own count
	__u32 last_retransmits;
	__u32 last_drops;
	__u8 role;
	__u8 established; // counts as a connection
	__u8 before;	  // it was there before the programs
	__u8 certain;	  // the owner is not just the listener's
	__u8 closing;	  // it is being added to the process's counts
	__u8 gone;	  // it was closed when it was last looked at
	__u8 summed;	  // what it had counted then is in its owner's sum
	__u8 unknown;	  // who accepted it was not known when it was last looked at
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // the loader sets it
	__type(key, __u64);	// address of the socket
	__type(value, struct connection);
} connections SEC(".maps");

__u64 lost_connections; // no room: they are not counted

// closed is the last socket that was closed on a CPU. A reset may follow.
struct closed {
	__u64 socket;
	__u64 owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct closed);
} last_closed SEC(".maps");

static __always_inline bool is_tcp(const struct sock___tcp *sk)
{
	return field(sk, sk_protocol) == IPPROTO_TCP;
}

// identity_of tells a connection from the next at its socket's address. The kernel may have skipped the program at its end.
static __always_inline __u64 identity_of(const struct sock___tcp *sk)
{
	__u64 ports = (__u32)BPF_CORE_READ(sk, __sk_common.skc_num) << 16 | BPF_CORE_READ(sk, __sk_common.skc_dport);

	return ports << 32 | BPF_CORE_READ(sk, __sk_common.skc_hash);
}

static __always_inline __u64 bytes_received(const struct sock___tcp *sk)
{
	__u64 n = BPF_CORE_READ((const struct tcp_sock___tcp *)sk, bytes_received);

	// A FIN counts as a byte (tcp_rcv_nxt_update in tcp_data_queue), and marks the socket (tcp_fin).
	if (n && BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1)
		n--;
	return n;
}

// bytes_sent counts each byte once. bytes_sent of the socket does not: not in what a full queue of this host drops.
static __always_inline __u64 bytes_sent(const struct sock___tcp *sk, __u8 role)
{
	const struct tcp_sock___tcp *tp = (const void *)sk;
	int state = BPF_CORE_READ(sk, __sk_common.skc_state);
	__u64 n = BPF_CORE_READ(tp, bytes_acked);
	__u32 next = BPF_CORE_READ(tp, snd_nxt);

	n += next - BPF_CORE_READ(tp, snd_una); // which grows: so it is read last
	// A SYN and a FIN count as a byte. The FIN is the last thing written.
	if (n && role == OUTGOING)
		n--;
	if (n && 1 << state & (1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING) && next == BPF_CORE_READ(tp, write_seq))
		n--;
	return n;
}

static __always_inline __u32 retransmits(const struct sock___tcp *sk)
{
	return BPF_CORE_READ((const struct tcp_sock___tcp *)sk, total_retrans);
}

static __always_inline __u32 drops(const struct sock___tcp *sk)
{
	return BPF_CORE_READ(sk, sk_drops.counter);
}

// since returns what was counted beyond what there was. Counts that are read while they change may fall short by one.
static __always_inline __u64 since(__u64 base, __u64 n)
{
	return n > base ? n - base : 0;
}

static __always_inline void put(const struct sock___tcp *sk, const struct connection *c)
{
	__u64 address = (__u64)sk;

	if (bpf_map_update_elem(&connections, &address, c, 0))
		count(lost_connections);
}

// claim gives the connection to who runs this.
static __always_inline void claim(struct connection *c)
{
	c->owner = current_owner();
	c->certain = true;
}

// accepted gives the connection to who accepted it, if it was accepted, and that process is known.
static __always_inline bool accepted(const struct sock___tcp *sk, struct connection *c)
{
	const struct task_struct___tcp *task = (void *)bpf_get_current_task();
	__u64 cred = (__u64)BPF_CORE_READ(sk, sk_socket, file, f_cred);
	struct living *process;

	if (!cred)
		return false;
	// The file keeps its credentials. So whoever has them has accepted it. The map may still have who had others at that
	// address before.
	if (cred == (__u64)BPF_CORE_READ(task, real_cred)) {
		claim(c);
		return true;
	}
	process = bpf_map_lookup_elem(&creds, &cred);
	if (!process)
		return false;
	known(process->owner, process->comm);
	c->owner = process->owner;
	c->certain = true;
	return true;
}

// listener_of returns the listener that a connection is just being cloned from (inet_csk_clone_lock). The clone of its
// empty queue leads to the listener's.
static __always_inline struct connection *listener_of(const struct sock___tcp *sk)
{
	const struct tcp_sock___tcp *tp = (const void *)sk;
	__u64 address = (__u64)BPF_CORE_READ(tp, tsorted_sent_queue.next) - bpf_core_field_offset(struct tcp_sock___tcp, tsorted_sent_queue);
	struct connection *c = bpf_map_lookup_elem(&connections, &address);

	return c && c->role == LISTENER ? c : NULL;
}

static __always_inline void arrives(const struct sock___tcp *sk)
{
	struct connection c = {.role = INCOMING}, *listener = listener_of(sk);

	if (listener)
		c.owner = listener->owner;
	unowned();
	put(sk, &c);
}

static __always_inline void starts(const struct sock___tcp *sk, enum role role)
{
	struct connection c = {.role = role, .certain = true};

	c.owner = current_owner();
	if (role == LISTENER)
		c.base_drops = drops(sk);
	put(sk, &c);
}

static __always_inline void establishes(const struct sock___tcp *sk, struct connection *c)
{
	c->identity = identity_of(sk);
	// What the listener has retransmitted for this connection is in its count (tcp_create_openreq_child), too.
	if (c->role == INCOMING)
		c->base_retransmits = retransmits(sk);
	c->established = !c->before;
}

// closes runs in the process that closes the socket, or shuts it down.
static __always_inline void closes(const struct sock___tcp *sk, struct connection *c)
{
	if (!c->certain && !accepted(sk, c))
		claim(c);
}

static __always_inline enum counter failure(int err, bool abandoned)
{
	switch (err) {
	case ECONNREFUSED:
		return FAILED_REFUSED;
	case ETIMEDOUT:
		return FAILED_TIMEOUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return FAILED_UNREACHABLE;
	case 0:
		return abandoned ? FAILED_ABANDONED : FAILED_OTHER;
	}
	return FAILED_OTHER;
}

static __always_inline void add_to(struct process *p, enum counter counter, __u64 n)
{
	if (n)
		add(p->counters[counter], n);
}

// round_trip counts how long the peer takes to acknowledge, if it has acknowledged anything since the last time. The
// kernel keeps the mean of the last few measurements (tcp_rtt_estimator). What is counted while user space reads, is in
// what it reads next.
static __always_inline void round_trip(const struct sock___tcp *sk, struct connection *c, struct process *p)
{
	const struct tcp_sock___tcp *tp = (const void *)sk;
	__u64 acked = BPF_CORE_READ(tp, bytes_acked);
	__u32 srtt_us = BPF_CORE_READ(tp, srtt_us);

	if (acked == c->last_acked || !srtt_us)
		return;
	c->last_acked = acked;
	count(p->counters[ROUND_TRIPS]);
	add(p->counters[ROUND_TRIP_MICROSECONDS], srtt_us >> 3);
}

// rebase has the connection count from where it was last looked at.
static __always_inline void rebase(struct connection *c)
{
	c->established = false;
	c->base_received += c->last_received;
	c->base_sent += c->last_sent;
	c->base_retransmits += c->last_retransmits;
	c->base_drops += c->last_drops;
	c->last_received = c->last_sent = c->last_retransmits = c->last_drops = 0;
}

// counts_at_end returns where what the connection has counted beyond the bases goes. What was in the sum of an owner who
// has ended is exposed.
static __always_inline struct process *counts_at_end(struct connection *c)
{
	if (c->summed && !bpf_map_lookup_elem(&processes, &c->owner))
		rebase(c);
	return counts_of(c->owner);
}

// is_closing reports whether the connection is being added to the process's counts.
static __always_inline bool is_closing(const struct connection *c)
{
	return *(volatile __u8 *)&c->closing;
}

// is_abandoned reports whether the process gives up a connect without an error. A close marks the socket as down first,
// and a shutdown does not. A connect that fails before a SYN is sent is not given up.
static __always_inline bool is_abandoned(const struct sock___tcp *sk, bool down)
{
	return down || BPF_CORE_READ(sk, sk_socket, state) > SS_UNCONNECTED;
}

static __always_inline void ends(const struct sock___tcp *sk, struct connection *c, int old)
{
	bool down = field(sk, sk_shutdown) == SHUTDOWN_MASK;
	int err = field(sk, sk_err);
	__u64 address = (__u64)sk;
	struct closed *last;
	struct process *p;
	__u32 zero = 0;

	// Without an error, the process itself aborts it. Else it is not sure that anybody has accepted it.
	if (!c->certain && !accepted(sk, c) && down && !err && BPF_CORE_READ(sk, sk_socket))
		claim(c);
	*(volatile __u8 *)&c->closing = true;
	last = bpf_map_lookup_elem(&last_closed, &zero);
	if (last) {
		last->socket = address;
		last->owner = c->owner;
	}
	p = counts_at_end(c);
	if (!p)
		goto out;
	if (c->role == LISTENER) {
		add_to(p, LISTEN_DROPS, since(c->base_drops, drops(sk)));
		goto out;
	}
	add_to(p, RETRANSMITS, since(c->base_retransmits, retransmits(sk)));
	if (old == TCP_SYN_SENT) {
		enum counter reason = failure(err, is_abandoned(sk, down));

		if (reason < COUNTERS)
			count(p->counters[reason]);
		goto out;
	}
	if (c->established)
		count(p->counters[c->role == OUTGOING ? CONNECTIONS_OUT : CONNECTIONS_IN]);
	if (err == ECONNRESET || err == EPIPE) // tcp_reset
		count(p->counters[RESETS_RECEIVED]);
	add_to(p, BYTES_RECEIVED, since(c->base_received, bytes_received(sk)));
	add_to(p, BYTES_SENT, since(c->base_sent, bytes_sent(sk, c->role)));
	round_trip(sk, c, p);
out:
	bpf_map_delete_elem(&connections, &address);
}

static __always_inline int changes(const struct sock___tcp *sk, int old, int now)
{
	__u64 address = (__u64)sk;
	struct connection *c;

	switch (now) {
	case TCP_SYN_SENT:
		if (is_tcp(sk))
			starts(sk, OUTGOING);
		return 0;
	case TCP_LISTEN:
		if (is_tcp(sk))
			starts(sk, LISTENER);
		return 0;
	case TCP_SYN_RECV:
		if (old == TCP_LISTEN && is_tcp(sk))
			arrives(sk);
		return 0;
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
	case TCP_CLOSE:
		break;
	default:
		return 0;
	}
	c = bpf_map_lookup_elem(&connections, &address);
	if (!c)
		return 0;
	if (now == TCP_ESTABLISHED)
		establishes(sk, c);
	else if (now == TCP_CLOSE)
		ends(sk, c, old);
	else
		closes(sk, c);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int on_state(__u64 *ctx)
{
	return changes((void *)ctx[0], ctx[1], ctx[2]);
}

static __always_inline int to_change(void *registers)
{
	const struct sock___tcp *sk = (void *)argument_1(registers);

	return changes(sk, field(sk, __sk_common.skc_state), argument_2(registers));
}

// The tracepoint is in these two functions.
SEC("kprobe/inet_sk_state_store")
int kprobe_store_state(void *ctx)
{
	return to_change(ctx);
}

SEC("kprobe/inet_sk_set_state")
int kprobe_set_state(void *ctx)
{
	return to_change(ctx);
}

// on_reset runs when a socket sends a reset: to a segment that came, or of its own accord, and then there is none.
// The socket is mostly closed just before.
SEC("tp_btf/tcp_send_reset")
int on_reset(__u64 *ctx)
{
	const struct sock___tcp *sk = (void *)ctx[0];
	__u64 address = (__u64)sk, owner;
	struct connection *c;
	struct closed *last;
	struct process *p;
	__u32 zero = 0;

	if (!address)
		return 0;
	c = bpf_map_lookup_elem(&connections, &address);
	last = bpf_map_lookup_elem(&last_closed, &zero);
	if (c) {
		if (c->role == LISTENER)
			return 0; // of no connection
		owner = c->owner;
	} else if (last && last->socket == address) {
		owner = last->owner;
		last->socket = 0;
	} else if (!ctx[1] && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE) {
		owner = current_owner(); // it was moved to another CPU since
	} else {
		return 0;
	}
	p = counts_of(owner);
	if (p)
		count(p->counters[RESETS_SENT]);
	return 0;
}

// on_synack runs when a listener answers a connect again. There is no socket yet that would count it.
SEC("tp_btf/tcp_retransmit_synack")
int on_synack(__u64 *ctx)
{
	__u64 address = ctx[0];
	struct connection *c = bpf_map_lookup_elem(&connections, &address);
	struct process *p;

	if (!c)
		return 0;
	p = counts_of(c->owner);
	if (p)
		count(p->counters[RETRANSMITS]);
	return 0;
}

// ---- what user space asks for ----

__u64 lost_ends; // sockets whose end was missed

// sum is what the open sockets of an owner have counted.
struct sum {
	__u64 generation;
	__u64 sockets;
	__u64 held;	// of them, those that somebody has
	__u64 orphaned; // the owner has ended: adopt_open looks who has them
	__u64 counters[COUNTERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct sum);
} sums SEC(".maps");

// sum_of returns the owner's sum, which begins with 0 in each generation.
static __always_inline struct sum *sum_of(__u64 owner)
{
	struct sum fresh = {.generation = generation};
	struct sum *sum = bpf_map_lookup_elem(&sums, &owner);

	if (sum && sum->generation == fresh.generation)
		return sum;
	if (bpf_map_update_elem(&sums, &owner, &fresh, 0))
		count(lost_processes);
	return bpf_map_lookup_elem(&sums, &owner);
}

// listener is a port on which a process listens, be it with several sockets.
struct listener {
	__u64 owner;
	__u64 port;
};

// dropped is what the open sockets of a listener have dropped.
struct dropped {
	__u64 generation;
	__u64 drops;
};

// listeners has those that have dropped something. Of those that there is no room for, only what the process has dropped
// is told.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct listener);
	__type(value, struct dropped);
} listeners SEC(".maps");

static __always_inline void note_drops(__u64 owner, __u16 port, __u64 drops)
{
	struct listener key = {.owner = owner, .port = port};
	struct dropped fresh = {.generation = generation, .drops = drops};
	struct dropped *d;

	if (!drops)
		return;
	d = bpf_map_lookup_elem(&listeners, &key);
	if (d && d->generation == fresh.generation)
		d->drops += drops;
	else
		bpf_map_update_elem(&listeners, &key, &fresh, 0);
}

// is_gone reports whether the socket is closed, or another's by now: the program at its end runs just now, or was skipped.
static __always_inline bool is_gone(const struct sock___tcp *sk, const struct connection *c)
{
	int state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return is_closing(c) || state == TCP_CLOSE || (c->identity && c->identity != identity_of(sk)) ||
	       (c->role == LISTENER) != (state == TCP_LISTEN);
}

// is_held reports whether somebody has the socket: it was accepted, and is not closed.
static __always_inline bool is_held(const struct sock___tcp *sk)
{
	return BPF_CORE_READ(sk, sk_socket) != NULL;
}

// add_last adds what a socket had counted when it was last looked at.
static __always_inline void add_last(__u64 counters[COUNTERS], const struct connection *c)
{
	if (c->established)
		count(counters[c->role == OUTGOING ? CONNECTIONS_OUT : CONNECTIONS_IN]);
	add(counters[RETRANSMITS], c->last_retransmits);
	add(counters[LISTEN_DROPS], c->last_drops);
	add(counters[BYTES_RECEIVED], c->last_received);
	add(counters[BYTES_SENT], c->last_sent);
}

static __noinline int visit(struct connection *c, __u64 address)
{
	const struct sock___tcp *sk = (void *)address;
	struct process *p;
	struct sum *sum;

	if (!c || c->visited == generation)
		return 0;
	c->visited = generation;
	if (is_gone(sk, c)) {
		if (!c->gone) { // this is the first time
			c->gone = true;
			return 0;
		}
		p = c->summed ? bpf_map_lookup_elem(&processes, &c->owner) : counts_of(c->owner);
		if (p)
			add_last(p->counters, c);
		count(lost_ends);
		bpf_map_delete_elem(&connections, &address);
		return 0;
	}
	c->gone = false;
	if (!c->certain && !accepted(sk, c)) {
		// Who accepted it and is still not known the second time has other credentials by now. Then it is the listener's.
		c->certain = c->unknown;
		c->unknown = is_held(sk);
		if (!c->certain) {
			unowned();
			return 0;
		}
	}
	if (c->role == LISTENER) {
		c->last_drops = since(c->base_drops, drops(sk));
		note_drops(c->owner, BPF_CORE_READ(sk, __sk_common.skc_num), c->last_drops);
	} else {
		c->last_retransmits = since(c->base_retransmits, retransmits(sk));
		c->last_received = since(c->base_received, bytes_received(sk));
		c->last_sent = since(c->base_sent, bytes_sent(sk, c->role));
		p = counts_of(c->owner);
		if (p)
			round_trip(sk, c, p);
	}
	sum = sum_of(c->owner);
	if (!sum)
		return 0;
	c->summed = true;
	sum->sockets++;
	if (is_held(sk))
		sum->held++;
	add_last(sum->counters, c);
	return 0;
}

static long visit_each(void *map, const __u64 *address, struct connection *c, void *ctx)
{
	visit(c, *address);
	return 0;
}

// each_socket looks at all sockets. It is an iterator, so that it can be asked to. What that goes over does not matter: it
// is the kernel's BPF maps, of which there is one.
SEC("iter/bpf_map")
int each_socket(struct bpf_iter__bpf_map *ctx)
{
	if (!ctx->meta->seq_num)
		bpf_for_each_map_elem(&connections, visit_each, NULL, 0);
	return 0;
}

static __always_inline const struct sock___tcp *tcp_socket(struct file *file)
{
	const struct sock___tcp *sk;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	sk = BPF_CORE_READ((struct socket___tcp *)file->private_data, sk);
	if (bpf_core_field_exists(struct mptcp_sock, first) && sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		sk = BPF_CORE_READ((const struct mptcp_sock *)sk, first);
	return sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? sk : NULL;
}

// each_file does what each_socket does, for kernels before 5.13, which cannot go over a map: it takes the time of looking
// at all open files.
SEC("iter/task_file")
int each_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u64 address;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	address = (__u64)tcp_socket(file);
	if (address)
		visit(bpf_map_lookup_elem(&connections, &address), address);
	return 0;
}

// each_process writes what is needed of each process that lives, once more for each thread that has credentials of
// its own. All have when a process changes them while it has threads.
SEC("iter/task")
int each_process(struct bpf_iter__task *ctx)
{
	struct task_struct___tcp *task = ctx->task, *leader;
	struct living l = {};

	if (!task || !task->signal->live.counter)
		return 0;
	leader = task->group_leader;
	if (task->pid != task->tgid && task->real_cred == leader->real_cred)
		return 0;
	l.owner = owner_id(leader->start_time, task->tgid);
	l.cred = (__u64)task->real_cred;
	bpf_probe_read_kernel(l.comm, sizeof(l.comm), &leader->comm);
	bpf_seq_write(ctx->meta->seq, &l, sizeof(l));
	return 0;
}

// inherit gives a socket of a process that has ended to another one that has it. What it has counted stays where it is.
static __always_inline void inherit(const struct sock___tcp *sk, struct connection *c, const struct task_struct___tcp *task)
{
	struct sum *sum = bpf_map_lookup_elem(&sums, &c->owner);
	struct connection had = *c;
	__u64 heir = owner_of(task);
	struct process *p;

	if (!sum || !sum->orphaned || !c->summed || heir == c->owner || is_gone(sk, c))
		return;
	known(heir, comm_of(task));
	// What is closed from here on counts what is beyond the new bases.
	rebase(c);
	barrier();
	if (is_closing(c))
		return;
	p = bpf_map_lookup_elem(&processes, &c->owner);
	if (p)
		add_last(p->counters, &had);
	c->owner = heir;
}

// adopt_open runs over all open files. The first time it gives every socket an owner that was there before, and later on
// those whose owner has ended.
SEC("iter/task_file")
int adopt_open(struct bpf_iter__task_file *ctx)
{
	const struct task_struct___tcp *task = (void *)ctx->task;
	struct file *file = ctx->file;
	struct connection c = {.before = true, .certain = true}, *there;
	const struct sock___tcp *sk;
	__u64 address;
	int state;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	sk = tcp_socket(file);
	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE)
		return 0;
	// A process that was forked has the socket, too. The first one is who made it, or close to it.
	address = (__u64)sk;
	there = bpf_map_lookup_elem(&connections, &address);
	if (there) {
		inherit(sk, there, task);
		return 0;
	}
	if (generation) // there was no room for it
		return 0;
	c.owner = owner_of(task);
	known(c.owner, comm_of(task));
	c.role = OUTGOING;
	if (state == TCP_LISTEN) {
		c.role = LISTENER;
		c.base_drops = drops(sk);
	} else {
		c.identity = state == TCP_SYN_SENT ? 0 : identity_of(sk);
		c.base_retransmits = retransmits(sk);
		c.base_received = bytes_received(sk);
		c.base_sent = bytes_sent(sk, c.role);
		c.last_acked = BPF_CORE_READ((const struct tcp_sock___tcp *)sk, bytes_acked);
	}
	if (bpf_map_update_elem(&connections, &address, &c, BPF_NOEXIST))
		count(lost_connections);
	return 0;
}
