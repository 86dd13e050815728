// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// HTTP/1.x by process. Two hooks see the plain bytes of every TCP socket: one where a reader is
// handed a segment, one where a writer hands over a buffer. A state machine per connection, kept
// in the socket's own storage, pairs a request line with the status line that answers it, and
// adds the answer to the process's counters. Nothing is sent to user space: it reads the counters
// from mapped memory.
//
// Who a connection belongs to follows from the direction: a request line that is read, or a status
// line that is written, makes a server; the reverse makes a client.

#include "kernel.h"
#include <bpf/bpf_endian.h>
#include "parse.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BUCKETS 41      // bounds of the histogram; one more counts what exceeds the last
#define BUCKETS_POW2 64 // for the binary search
#define CODE_COLUMNS 24 // codes counted in place; column 0 stands for all others
#define CODES 512       // of the table that gives a code's column, from 100 on
#define NO_SLOT 0xffffffff

// A call is dear on CPUs that mitigate speculative returns, and a stack of 64 bytes or more makes
// the kernel give the program one of its own, which makes calls dearer yet: on_receive and on_send
// have the usual case inline, on a small stack, and leave the others to functions.

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum role {
	UNKNOWN, // open before the collector, or not enough bytes yet
	SERVER,
	CLIENT,
};

// Set by the loader before the programs are verified, and constant to the verifier from then on.
volatile const __u64 bucket_bounds[BUCKETS_POW2]; // nanoseconds, ascending, filled up with the maximum
volatile const __u8 code_columns[CODES];
volatile const __u8 excluded_ports[65536 / 8];
volatile const __u32 cpus;
volatile const __u32 max_connections;
volatile const bool clients;

// adopted becomes true when every connection that was open before the hooks has its storage.
// From then on one without, that has sent something, is known to be of no interest: a server
// reads a request before it sends.
volatile bool adopted;

// The following change, with every connection some. On a cache line of their own they do not slow
// down those that read the above.
__u64 open_connections __attribute__((aligned(64))); // with storage
__u64 lost_connections_limit;
__u64 lost_connections_memory;
__u64 lost_requests; // no slot was free for the process
__u64 lost_codes;    // counted, but not by code
__u64 unreadable;    // heads that could not be read

// connection is the state machine. The socket is locked when on_receive and on_send come by.
struct connection {
	__u64 started; // when the first byte of the last request was read (a client's: written); 0 before the first
	__u32 tgid;    // whose request that was
	__u32 slot;
	__u32 epoch;
	__u32 read_until; // where reading stood when `kept` was taken, as sequence number
	__u32 sent_until; // what is written before this has been looked at
	__u32 get_bytes;  // of the last segment, if a GET was all of it; else 0
	struct head kept;
	__u8 role;
	bool deaf;    // what it reads is of no interest now
	bool mute;    // nor what it writes
	bool pending; // a request waits for its response
	bool proven;  // has been answered: this is HTTP
	bool tunnel;  // the pending request is a CONNECT
	bool head;    // or a HEAD
	bool brief;   // the last response was without a body, or to a pipelined request
	bool wrote;   // it was a write that `kept` is from
	bool open_before; // this collector
	bool missed;      // what came begins no request, while the role is unknown
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

// owner names a process in one of its roles. Each has a slot of its own.
struct owner {
	__u32 tgid;
	__u32 role;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // the loader sets the size of this and the following
	__type(key, struct owner);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 1);
	__type(value, __u32);
} free_slots SEC(".maps");

// process describes who holds a slot.
struct process {
	__u32 tgid;
	__u32 role;
	__u32 epoch; // of the slot: goes up when it changes hands
	__u32 taken;
	__u64 exited; // nanoseconds of the monotonic clock; 0 while it lives
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

// counters of one slot on one CPU. Receiving and sending do not interrupt each other on a CPU; the end
// of a connection may interrupt both, and has a word of its own: so plain additions lose nothing.
struct counters {
	__u32 epoch;
	__u32 unused;
	__u64 last;    // when a response was counted last
	__u64 started; // requests that became pending
	__u64 sum;     // nanoseconds from request to response, of all responses
	__u64 codes[CODE_COLUMNS];
	__u64 buckets[BUCKETS + 1]; // all of them together are the responses
	__u64 pipelined;            // responses beyond the requests that were pending
	__u64 unanswered;           // requests whose connection ended first
	__u64 withdrawn;            // requests that another process took over, or that were not HTTP
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); // slots × CPUs
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

// rare_code counts the codes that have no column.
struct rare_code {
	__u32 slot;
	__u32 epoch;
	__u32 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct rare_code);
	__type(value, __u64);
} rare_codes SEC(".maps");

static __always_inline struct tcp_sock *tcp_sk(const struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
}

static __always_inline __u32 skb_seq(struct sk_buff *skb)
{
	const struct tcp_skb_cb *cb = bpf_rdonly_cast((void *)skb + bpf_core_field_offset(struct sk_buff, cb),
						      bpf_core_type_id_kernel(struct tcp_skb_cb));

	return cb->seq;
}

static __always_inline bool port_excluded(__u16 port)
{
	return excluded_ports[port >> 3] & (1 << (port & 7));
}

// ---- processes ----

// counters_at returns this CPU's counters of a slot.
static __always_inline struct counters *counters_at(__u32 slot)
{
	__u32 index = slot * cpus + bpf_get_smp_processor_id();

	if (slot == NO_SLOT)
		return NULL;
	return bpf_map_lookup_elem(&counters, &index);
}

// take_slot finds the owner's slot, or gives it one.
static __noinline __u32 take_slot(__u32 tgid, __u32 role)
{
	struct owner owner = {.tgid = tgid, .role = role};
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct process *process;
	__u32 *found, slot;

	found = bpf_map_lookup_elem(&slots, &owner);
	if (found) {
		slot = *found;
		process = bpf_map_lookup_elem(&processes, &slot);
	} else {
		if (bpf_map_pop_elem(&free_slots, &slot))
			return NO_SLOT;
		process = bpf_map_lookup_elem(&processes, &slot);
		if (!process)
			return NO_SLOT;
		process->tgid = tgid;
		process->role = role;
		process->exited = 0;
		if (bpf_map_update_elem(&slots, &owner, &slot, BPF_NOEXIST)) {
			bpf_map_push_elem(&free_slots, &slot, 0); // another thread was first
			found = bpf_map_lookup_elem(&slots, &owner);
			if (!found)
				return NO_SLOT;
			slot = *found;
			process = bpf_map_lookup_elem(&processes, &slot);
		} else {
			process->taken = 1;
		}
	}
	// A process may name itself after its first connection: the name follows with the next.
	if (process)
		__builtin_memcpy(process->comm, leader->comm, sizeof(process->comm));
	return slot;
}

// bind makes the current process the owner of the connection.
static __noinline int bind(struct connection *c, __u32 tgid)
{
	struct counters *counters;

	if (!c)
		return 0;

	c->tgid = tgid;
	c->slot = take_slot(tgid, c->role);
	counters = counters_at(c->slot);
	if (counters)
		c->epoch = counters->epoch;
	return 0;
}

// owned returns the counters of the connection's owner, unless the slot has changed hands.
static __always_inline struct counters *owned(const struct connection *c)
{
	struct counters *counters = counters_at(c->slot);

	if (counters && counters->epoch == c->epoch)
		return counters;
	return NULL;
}

// ---- connections ----

// storage returns the socket's state, if it has one. Most sockets have nothing from any BPF program:
// to see that is a load, where the helper is a call.
static __always_inline struct connection *storage(struct sock *sk)
{
	return sk->sk_bpf_storage ? bpf_sk_storage_get(&connections, sk, NULL, 0) : NULL;
}

static __noinline struct connection *track(struct sock *sk)
{
	struct connection *c;

	if (!sk)
		return NULL;
	if (open_connections >= max_connections) {
		__sync_fetch_and_add(&lost_connections_limit, 1);
		return NULL;
	}
	c = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		__sync_fetch_and_add(&lost_connections_memory, 1);
		return NULL;
	}
	c->slot = NO_SLOT;
	c->sent_until = tcp_sk(sk)->write_seq;
	__sync_fetch_and_add(&open_connections, 1);
	return c;
}

static __noinline int forget(struct sock *sk)
{
	if (sk && !bpf_sk_storage_delete(&connections, sk))
		__sync_fetch_and_add(&open_connections, -1);
	return 0;
}

// keep holds on to the bytes of an unfinished head.
static __always_inline void keep(struct connection *c, const struct head *h, bool wrote, __u32 next_seq)
{
	c->kept = *h;
	c->wrote = wrote;
	c->read_until = next_seq;
}

// join puts the bytes kept before those of h, when they are from the same direction.
static __always_inline void join(struct connection *c, struct head *h, bool wrote)
{
	struct head joined = c->kept;

	if (c->wrote != wrote) {
		c->kept.bytes = 0;
		return;
	}
	head_append(&joined, h);
	*h = joined;
}

// ---- the state machine ----

// request makes a request pending, of the current process.
static __always_inline void request(struct connection *c, enum role role, enum verdict verdict)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct counters *counters = owned(c);

	c->role = role;
	if (unlikely(c->tgid != tgid || !counters)) {
		bind(c, tgid);
		counters = owned(c);
	}
	if (likely(counters))
		counters->started++;
	c->pending = true;
	c->tunnel = verdict == REQUEST_CONNECT;
	c->head = verdict == REQUEST_HEAD;
	if (role == SERVER)
		c->deaf = true; // the rest of the request
	else
		c->mute = true;
	c->kept.bytes = 0;
}

// take_over moves a pending request to the process that reads on: the one before has only peeked.
static __noinline int take_over(struct connection *c, __u32 tgid)
{
	struct counters *counters = owned(c);

	if (counters)
		counters->withdrawn++;
	bind(c, tgid);
	counters = owned(c);
	if (counters)
		counters->started++;
	return 0;
}

// bucket_of returns the number of bounds below: a binary search over 64 without a branch.
static __noinline __u32 bucket_of(__u64 nanoseconds)
{
	__u32 i = 0;

#pragma unroll
	for (__u32 step = BUCKETS_POW2 / 2; step; step /= 2)
		i += bucket_bounds[(i + step - 1) & (BUCKETS_POW2 - 1)] < nanoseconds ? step : 0;
	return i;
}

static __noinline int count_rare(__u32 slot, __u32 epoch, __u32 code)
{
	struct rare_code key = {.slot = slot, .epoch = epoch, .code = code};
	__u64 one = 1, *count;

	count = bpf_map_lookup_elem(&rare_codes, &key);
	if (!count) {
		if (!bpf_map_update_elem(&rare_codes, &key, &one, BPF_NOEXIST))
			return 0;
		count = bpf_map_lookup_elem(&rare_codes, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		__sync_fetch_and_add(&lost_codes, 1);
	return 0;
}

// own makes the current process the owner of a connection whose owner is not known any more, or
// never was.
static __noinline int own(struct connection *c)
{
	struct counters *counters;

	if (!c)
		return 0;
	bind(c, bpf_get_current_pid_tgid() >> 32);
	counters = owned(c);
	if (counters && c->pending)
		counters->started++;
	return 0;
}

// response counts the answer to the connection's request, or to one that was pipelined behind it.
static __always_inline void response(struct connection *c, __u32 code)
{
	struct counters *counters;
	__u32 bucket, column;
	__u64 now, took;

	c->kept.bytes = 0;
	if (unlikely(code < 200 && code != 101))
		return; // interim: the response is still to come
	c->brief = !c->pending || c->head || code == 204 || code == 304;
	c->proven = true;
	c->deaf = c->mute = code == 101 || (c->tunnel && code < 300);
	counters = owned(c);
	if (unlikely(!counters)) {
		own(c);
		counters = owned(c);
	}
	if (unlikely(!counters)) {
		c->pending = false;
		__sync_fetch_and_add(&lost_requests, 1);
		return;
	}
	if (!c->pending)
		counters->pipelined++;
	c->pending = false;
	// The code first: a reader takes the buckets first, and so has no response without a code.
	column = code - 100 < CODES ? code_columns[code - 100] : 0;
	if (likely(column)) {
		// Clang makes one comparison of two, of column - 1, and most kernels do not see then that column is bounded.
		asm volatile("" : "+r"(column));
		if (column < CODE_COLUMNS)
			counters->codes[column]++;
	} else {
		count_rare(c->slot, c->epoch, code);
	}
	now = bpf_ktime_get_ns();
	counters->last = now;
	took = now - c->started;
	counters->sum += took;
	bucket = likely(took <= bucket_bounds[0]) ? 0 : bucket_of(took);
	if (bucket > BUCKETS)
		bucket = BUCKETS;
	counters->buckets[bucket]++;
}

// owed takes a response whose request was there before the collector. It does not count: when that
// began is not known, nor which method it had.
static __always_inline void owed(struct connection *c, int code)
{
	c->kept.bytes = 0;
	c->proven = true;
	c->deaf = c->mute = code == 101;
}

// not_http gives up a connection whose first answer is no status line.
static __noinline int not_http(struct sock *sk, struct connection *c)
{
	struct counters *counters = owned(c);

	if (counters && c->pending)
		counters->withdrawn++;
	return forget(sk);
}

// answer takes bytes that may begin a response, and returns what is then known of the connection.
static __always_inline struct connection *answer(struct sock *sk, struct connection *c, const struct head *h, bool wrote, __u32 next_seq)
{
	int code = status_code(h);

	if (code > 0) {
		if (likely(c->started))
			response(c, code);
		else
			owed(c, code);
	} else if (code == STATUS_PARTIAL) {
		keep(c, h, wrote, next_seq);
	} else {
		c->kept.bytes = 0;
		// One that was open before may be amid a body. A client that has read some is not: it
		// would not have asked again.
		if (c->pending && !c->proven && (!c->open_before || (c->role == CLIENT && c->missed))) {
			not_http(sk, c);
			return NULL;
		}
	}
	return c;
}

// question takes bytes that may begin a request, and returns what is then known of the connection.
static __always_inline struct connection *question(struct sock *sk, struct connection *c, const struct head *h, bool wrote, __u32 next_seq)
{
	enum verdict verdict = request_verdict(h);

	if (verdict == NOT_HTTP || !h->bytes) {
		if (c) {
			c->kept.bytes = 0;
			if (!wrote || !c->open_before) // else it may be amid a body
				c->missed = true;
		}
		return c;
	}
	if (!c)
		c = track(sk);
	if (!c)
		return NULL;
	if (!c->kept.bytes)
		c->started = bpf_ktime_get_ns(); // else the first of the kept bytes did
	if (verdict == PARTIAL)
		keep(c, h, wrote, next_seq);
	else
		request(c, wrote ? CLIENT : SERVER, verdict);
	return c;
}

// ---- receive ----

// peek_skb reads the head of what lies in the segment from offset on, up to `want` bytes.
static __always_inline void peek_skb(struct sk_buff *skb, __u32 offset, __u32 want, struct head *h)
{
	__u32 left = skb->len - offset, linear = skb->len - skb->data_len;
	__u32 n = left < want ? left : want;
	__u64 words[2] = {}, *slice;
	struct bpf_dynptr data;

	if (offset + n <= linear) {
		// Any type that begins with two words would do.
		const struct timespec64 *at = bpf_rdonly_cast(skb->data + offset, bpf_core_type_id_kernel(struct timespec64));

		words[0] = keep_bytes(at->tv_sec, n);
		words[1] = n > 8 ? keep_bytes(at->tv_nsec, n - 8) : 0;
	} else if (bpf_dynptr_from_skb(skb, 0, &data)) {
		n = 0;
	} else if (likely(n == REQUEST_BYTES)) { // a slice is the shorter way, but of constant size
		slice = bpf_dynptr_slice(&data, offset, words, REQUEST_BYTES);
		if (slice)
			words[0] = *slice;
		else
			n = 0;
	} else if (bpf_dynptr_read(words, n & 15, &data, offset, 0)) {
		n = 0;
	}
	if (unlikely(!n))
		__sync_fetch_and_add(&unreadable, 1);
	h->low = words[0];
	h->high = words[1];
	h->bytes = n;
}

// skip_preamble returns the offset behind empty lines before a request, which a server ignores
// (RFC 9112, 2.2), and behind a header of the PROXY protocol, version 2.
static __noinline __u32 skip_preamble(struct sk_buff *skb, __u32 offset)
{
	struct head h;

	if (!skb)
		return offset;
	peek_skb(skb, offset, HEAD_BYTES, &h);
	if (h.low == LONG('\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q')) {
		if (offset + 16 >= skb->len)
			return skb->len;
		peek_skb(skb, offset + 14, 2, &h);
		return offset + 16 + __builtin_bswap16((__u16)h.low);
	}
	for (int i = 0; i < 4; i++) {
		__u8 c = h.low;

		if (c != '\r' && c != '\n')
			break;
		offset++;
		h.low >>= 8;
	}
	return offset;
}

// received looks at a segment in all the cases that are not the usual one.
static __noinline int received(struct sk_buff *skb, struct connection *c, __u32 offset)
{
	enum verdict verdict;
	struct sock *sk;
	struct head h;
	__u32 seq;

	if (!skb)
		return 0;
	sk = skb->sk;
	if (!sk)
		return 0;
	if (likely(c && c->role != CLIENT && !c->kept.bytes && skb->len - offset >= REQUEST_BYTES)) {
		peek_skb(skb, offset, REQUEST_BYTES, &h);
		verdict = request_verdict(&h);
		if (likely(verdict >= REQUEST)) {
			c->get_bytes = (__u32)h.low == GET ? skb->len - offset : 0;
			c->started = bpf_ktime_get_ns();
			request(c, SERVER, verdict);
			return 0;
		}
		if (clients && c->role == UNKNOWN && status_code(&h) && !port_excluded(bpf_ntohs(sk->__sk_common.skc_dport)))
			c->role = CLIENT; // open before: what this answers was written before, too
	}
	if (c)
		c->get_bytes = 0;
	seq = skb_seq(skb);
	if (c && c->kept.bytes && !c->wrote && (__s32)(c->read_until - seq - offset) > 0)
		offset = c->read_until - seq;
	if (offset >= skb->len)
		return 0;

	if (c && c->role == CLIENT) {
		peek_skb(skb, offset, HEAD_BYTES, &h);
		seq += offset + h.bytes;
		if (c->kept.bytes)
			join(c, &h, false);
		c = answer(sk, c, &h, false, seq);
		if (c && !c->mute)
			c->sent_until = tcp_sk(sk)->write_seq; // not kept while the request was being written
		return 0;
	}
	if (!c || !c->kept.bytes) {
		offset = skip_preamble(skb, offset);
		if (offset >= skb->len)
			return 0;
	}
	peek_skb(skb, offset, REQUEST_BYTES, &h);
	seq += offset + h.bytes;
	if (c && c->kept.bytes)
		join(c, &h, false);
	question(sk, c, &h, false, seq);
	return 0;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct connection *c;
	struct tcp_sock *tp;
	__u32 offset, tgid;

	if (!sk)
		return 0;
	c = storage(sk); // only TCP's have it
	tp = tcp_sk(sk);
	if (!c && (sk->sk_protocol != IPPROTO_TCP || (adopted && tp->bytes_sent) || port_excluded(sk->__sk_common.skc_num)))
		return 0;
	if (c && c->deaf) {
		c->get_bytes = 0; // there is more of it
		if (c->pending) {
			tgid = bpf_get_current_pid_tgid() >> 32;
			if (unlikely(c->tgid != tgid))
				take_over(c, tgid);
		}
		return 0;
	}

	// Nothing tells where in the segment the reader is, but the two sequence numbers do. They
	// do not for one who peeks beyond the first segment: that is taken as out of its range.
	offset = tp->copied_seq - skb_seq(skb);
	if (unlikely(offset >= skb->len))
		return 0;
	// A GET has no body: what follows it begins a request. One of the same length, as pollers and
	// load generators send, is taken for another GET unread: to read it costs as much as all else.
	if (!c || c->get_bytes != skb->len - offset)
		return received(skb, c, offset);
	c->started = bpf_ktime_get_ns();
	request(c, SERVER, REQUEST);
	return 0;
}

// ---- send ----

// read_user reads the head of a buffer of the writer's.
static __always_inline void read_user(struct head *h, const void *base, __u64 len)
{
	__u32 n = len < HEAD_BYTES ? len : HEAD_BYTES;

	h->low = 0;
	h->high = 0;
	h->bytes = n;
	if (bpf_probe_read_user(h, n & 15, base)) {
		__sync_fetch_and_add(&unreadable, 1);
		h->bytes = 0;
	}
}

#define CONTINUE_BYTES 25 // "HTTP/1.1 100 Continue\r\n\r\n"

// wrote looks at a buffer of a write, which a message may begin with, and returns what is then
// known of the connection.
static __noinline struct connection *wrote(struct sock *sk, struct connection *c, const void *base, __u64 len)
{
	struct head h;

	if (!sk)
		return c;
	read_user(&h, base, len);
	if (!h.bytes)
		return c;
	if (c && c->kept.bytes)
		join(c, &h, true);

	if (c && c->role == SERVER) {
		if (len > CONTINUE_BYTES && status_code(&h) == 100) { // the final response may follow at once
			struct head final;

			read_user(&final, base + CONTINUE_BYTES, len - CONTINUE_BYTES);
			if (status_code(&final) > 0)
				h = final;
		}
		return answer(sk, c, &h, true, 0);
	}
	if (c && c->role == UNKNOWN) {
		int code = status_code(&h);

		if (code > 0) {
			c->role = SERVER; // open before: what this answers was read before, too
			owed(c, code);
			return c;
		}
	}
	if (clients && !port_excluded(bpf_ntohs(sk->__sk_common.skc_dport)))
		c = question(sk, c, &h, true, 0);
	if (c && c->role == UNKNOWN && c->missed && !c->kept.bytes) {
		forget(sk); // it reads no requests, and writes neither responses nor requests
		return NULL;
	}
	return c;
}

#define MAX_BUFFERS 64

// vector is a write of several buffers.
struct vector {
	struct sock *sk;
	__u64 next; // address of the next iovec
	__u32 seq;  // of its first byte
	__u32 left; // bytes from there on
	bool user;  // the iovecs lie in the writer's memory, not in the kernel's
};

static long wrote_next(__u32 i, struct vector *v)
{
	struct connection *c = storage(v->sk);
	struct iovec buffer = {};
	__u32 len;

	if (!v->left || (c ? c->mute : !clients))
		return 1;
	if (v->user) {
		if (bpf_probe_read_user(&buffer, sizeof(buffer), (void *)v->next))
			return 1;
	} else {
		const struct iovec *at = bpf_rdonly_cast((void *)v->next, bpf_core_type_id_kernel(struct iovec));

		buffer.iov_base = at->iov_base;
		buffer.iov_len = at->iov_len;
	}
	len = buffer.iov_len < v->left ? buffer.iov_len : v->left;
	// Too few bytes for a status line, unless they are a part of one.
	if (len >= HEAD_BYTES || i == 0 || (c && c->kept.bytes)) {
		if (!c || (__s32)(v->seq - c->sent_until) >= 0)
			wrote(v->sk, c, buffer.iov_base, len);
	}
	v->seq += len;
	v->left -= len;
	v->next += sizeof(struct iovec);
	return 0;
}

static __noinline __u32 wrote_vector(struct vector *v, __u32 buffers)
{
	if (!v)
		return 0;
	bpf_loop(buffers < MAX_BUFFERS ? buffers : MAX_BUFFERS, wrote_next, v, 0);
	return v->seq;
}

// first_buffer returns the first iovec. The field is in a union: kernels before 6.17 take what is read from it for a number.
static __always_inline const struct iovec *first_buffer(const struct iov_iter *iter)
{
	return bpf_rdonly_cast(iter->__iov, bpf_core_type_id_kernel(struct iovec));
}

// sent looks at a write in all the cases that are not the usual one.
static __noinline int sent(__u64 *ctx, struct connection *c)
{
	struct sock *sk = (void *)ctx[0];
	const struct msghdr *msg = (void *)ctx[1];
	const struct iov_iter *iter = &msg->msg_iter;
	const struct iovec *first;
	__u64 len = iter->count, skip = iter->iov_offset, more = 0;
	void *base;
	__u32 seq, until;

	if (!len)
		return 0; // and perhaps no buffers either
	seq = tcp_sk(sk)->write_seq;
	if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		base = iter->ubuf + skip;
	} else if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		first = first_buffer(iter);
		base = first->iov_base + skip;
		more = iter->nr_segs - 1;
		if (more)
			len = first->iov_len - skip;
	} else {
		if (c)
			c->sent_until = seq; // pages, of a file: no status line, as far as one can see
		return 0;
	}
	// The kernel comes by here for each part of a long write, and a program may repeat what was
	// not taken whole. The sequence number tells what has been looked at. That is the start of
	// each buffer: a message begins nowhere else, but pipelined responses may go out in one write.
	until = seq + len;
	if (!c || (__s32)(seq - c->sent_until) >= 0)
		c = wrote(sk, c, base, len);
	if (more) {
		// Of two buffers the second is a body, as a rule, and to read it would be in vain.
		if (c && (more > 1 || c->brief || c->kept.bytes)) {
			struct vector v = {
				.sk = sk,
				.next = (__u64)first + sizeof(struct iovec),
				.seq = until,
				.left = iter->count - len,
			};

			until = wrote_vector(&v, more);
			c = storage(sk);
		} else {
			until = seq + iter->count;
		}
	}
	if (c)
		c->sent_until = until;
	return 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, const struct msghdr *msg)
{
	const struct iov_iter *iter = &msg->msg_iter;
	struct connection *c = storage(sk);
	__u64 words[2], len; // "HTTP/1.1 200\r\n\r\n" fills the words
	struct head h;
	void *base;
	__u32 seq;
	int code;

	if (!c) {
		if (!clients || (adopted && tcp_sk(sk)->bytes_sent))
			return 0;
		return sent(ctx, c);
	}
	if (c->mute)
		return 0;
	if (unlikely(c->role != SERVER || !c->pending || c->kept.bytes))
		return sent(ctx, c);
	seq = tcp_sk(sk)->write_seq;
	if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		base = iter->ubuf;
		len = iter->count;
	} else if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC) && iter->nr_segs <= 2) {
		base = first_buffer(iter)->iov_base;
		len = first_buffer(iter)->iov_len;
	} else {
		return sent(ctx, c);
	}
	if (unlikely(iter->iov_offset || len < sizeof(words) || iter->count < len || (__s32)(seq - c->sent_until) < 0))
		return sent(ctx, c);
	// The usual case: a request waits, and a whole status line begins the write. As a string it is
	// read by words, where bpf_probe_read_user copies bytes. It is shorter if it has a zero byte.
	c->sent_until = seq;
	if (unlikely(bpf_probe_read_user_str(words, sizeof(words), base) != sizeof(words)))
		return sent(ctx, c);
	h.low = words[0];
	h.high = words[1];
	h.bytes = HEAD_BYTES;
	code = status_code(&h);
	if (unlikely(code < 200))
		return sent(ctx, c);
	response(c, code);
	if (unlikely(c->brief && iter->nr_segs > 1)) { // what follows is no body
		c->sent_until += first_buffer(iter)->iov_len;
		return sent(ctx, c);
	}
	c->sent_until += iter->count;
	return 0;
}

// on_sent does for kernels without that tracepoint what on_send does. It comes when the system call
// has been made, and finds the buffers in its arguments: so it does not see what io_uring writes.
SEC("tp_btf/sock_send_length")
int BPF_PROG(on_sent, struct sock *sk, int sent)
{
	struct pt_regs___x86 *regs;
	const struct user_msghdr *message;
	struct connection *c;
	struct vector v = {.sk = sk, .left = sent, .user = true};
	void *base = NULL;
	__u32 buffers = 0;

	if (sent <= 0 || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	c = storage(sk);
	if (c ? c->mute : !clients)
		return 0;
	if (!c && adopted && tcp_sk(sk)->bytes_sent > sent)
		return 0;

	regs = (struct pt_regs___x86 *)bpf_task_pt_regs(bpf_get_current_task_btf());
	switch (regs->orig_ax) {
	case SYS_WRITE:
	case SYS_SENDTO:
		base = (void *)regs->si;
		break;
	case SYS_WRITEV:
		v.next = regs->si;
		buffers = regs->dx;
		break;
	case SYS_SENDMSG:
		message = (void *)regs->si;
		v.next = (__u64)BPF_CORE_READ_USER(message, msg_iov);
		buffers = BPF_CORE_READ_USER(message, msg_iovlen);
		break;
	}
	v.seq = tcp_sk(sk)->write_seq - sent;
	if (base) {
		if (!c || (__s32)(v.seq - c->sent_until) >= 0)
			c = wrote(sk, c, base, sent);
		v.seq += sent;
	} else {
		wrote_vector(&v, buffers);
		c = storage(sk);
	}
	if (c)
		c->sent_until = v.seq;
	return 0;
}

// ---- ends ----

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct connection *c = storage(sk);
	struct counters *counters;

	if (!c)
		return 0;
	__sync_fetch_and_add(&open_connections, -1);
	if (c->pending) {
		counters = owned(c);
		if (counters)
			counters->unanswered++;
	}
	c->deaf = c->mute = true;
	c->pending = false;
	return 0;
}

static __noinline int leave(__u32 tgid, __u32 role)
{
	struct owner owner = {.tgid = tgid, .role = role};
	__u32 *slot = bpf_map_lookup_elem(&slots, &owner);
	struct process *process;

	if (!slot)
		return 0;
	process = bpf_map_lookup_elem(&processes, slot);
	if (process)
		process->exited = bpf_ktime_get_ns();
	return bpf_map_delete_elem(&slots, &owner);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task->signal->live.counter)
		return 0; // other threads live on
	leave(task->tgid, SERVER);
	if (clients)
		leave(task->tgid, CLIENT);
	return 0;
}

// ---- what was there before ----

// adopt runs over all open files once, and gives every TCP connection its storage.
SEC("iter/task_file")
int adopt(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct connection *c;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_state == TCP_LISTEN)
		return 0;
	if (port_excluded(sk->__sk_common.skc_num))
		return 0;
	if (bpf_sk_storage_get(&connections, sk, NULL, 0))
		return 0;
	c = track(sk);
	if (c)
		c->open_before = true;
	return 0;
}
