// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// HTTP/1.x by process. The hooks see the plain bytes of every TCP socket: some where a reader is handed
// bytes, one where a writer hands over buffers. A state machine per connection (connection.h) pairs a
// request line with the status line that answers it, and adds the answer to the process's counters.
// Nothing is sent to user space: it reads the counters.
//
// Who a connection belongs to follows from the direction: a request line that is read, or a status
// line that is written, makes a server; the reverse makes a client.
//
// Three sets of programs do the same:
//   - tracepoints: on_receive, on_send
//   - kprobes:     kprobe_receive and kprobe_received, kprobe_send
//   - trampolines: fentry_receive and fentry_received, fentry_send

#include "kernel.h"
#include "connection.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Which argument of tcp_recvmsg its flags are, from 1 on. Set by the loader.
volatile const __u32 recvmsg_flags;

// ---- what the pieces of a stream say ----

// piece is what was read or written at once. With a segment, addresses are offsets in it.
struct piece {
	struct sk_buff *skb; // typed programs, what is read: the segment that it lies in
	struct span span;    // else it lies in the process's memory
};

// next_span goes on to the next buffer of a write.
static __always_inline bool next_span(struct scan *scan)
{
	struct span *at = &scan->span;
	struct iovec buffer = {};
	__u32 left = at->left, len;

	if (!at->more || !left || !read_iovec(at->iov, &buffer))
		return false;
	scan->offset -= at->len;
	at->seq += at->len;
	at->base = (__u64)buffer.iov_base;
	len = buffer.iov_len < left ? buffer.iov_len : left;
	at->len = len;
	at->left = left - len;
	at->iov += sizeof(struct iovec);
	at->more--;
	return true;
}

static __always_inline bool read_bytes(void *to, __u32 n, struct sk_buff *skb, __u64 from)
{
	struct bpf_dynptr data;

	if (typed && skb)
		return !bpf_dynptr_from_skb(skb, 0, &data) && !bpf_dynptr_read(to, n, &data, from, 0);
	return !bpf_probe_read_user(to, n, (void *)from);
}

// code_at_start returns what status_code says of the start of the piece, from `at` on, or STATUS_UNREADABLE.
static __noinline int code_at_start(const struct piece *p, __u32 at)
{
	__u64 words[2] = {};
	struct head h;
	__u32 n;

	if (!p)
		return STATUS_NONE;
	n = p->span.len - at;
	if (n > HEAD_BYTES)
		n = HEAD_BYTES;
	h.bytes = n;
	asm volatile("" : "+r"(n)); // else clang leaves out what follows, which kernels before 5.11 need
	if (!read_bytes(words, n & 15, p->skb, p->span.base + at)) {
		count(unreadable);
		return STATUS_UNREADABLE;
	}
	h.low = words[0];
	h.high = words[1];
	return status_code(&h);
}

// scan_part has the next part of a span read and scanned, and returns whether there may be more of interest.
static __always_inline bool scan_part(struct scan *scan, struct sk_buff *skb, __u32 direction)
{
	__u32 n = scan->span.len - scan->offset;

	if (n > DATA_BYTES)
		n = DATA_BYTES;
	scan->at = 0;
	scan->bytes = n;
	asm volatile("" : "+r"(n)); // else clang leaves out what follows, which kernels before 5.11 need
	if (n > DATA_BYTES)
		return false;
	if (!read_bytes(scan->data, n, skb, scan->span.base + scan->offset)) {
		count(unreadable);
		scan->s.stage = LOST;
		scan->lost = true;
		return false;
	}
	return scan_data(direction);
}

// next_part takes one step in a piece, and returns whether there may be more of interest. Kernels before 5.11 refuse a loop
// that clang enters in its middle: so what is in the loop is a function.
static __noinline int next_part(struct scan *scan, struct sk_buff *skb, __u32 direction)
{
	if (!scan)
		return false;
	if (scan->offset >= scan->span.len)
		return next_span(scan);
	if (scan->s.stage == BODY || scan->s.stage == CHUNK) {
		pass_body(direction);
		return true;
	}
	return scan_part(scan, skb, direction);
}

// Those that come again, after MSG_PEEK or from a write that was not taken whole, are so many at most.
#define MAX_SEEN (16 << 20)

// seen returns how many bytes from seq on have been looked at, where a read or write of n bytes begins. Sequence numbers wrap.
// What passes unseen, by sendfile or splice, does not move next_seq: after 2 GiB of it and more, next_seq seems to be ahead by
// the rest of 4 GiB. A look goes no further than its own read or write: so next_seq is ahead by few bytes, or by n at most.
static __always_inline __u32 seen(const struct scanner *s, __u32 seq, __u32 n)
{
	__u32 ahead = s->next_seq - seq;

	return ahead <= MAX_SEEN || ahead <= n ? ahead : 0;
}

// skip passes over n bytes that were not looked at. Unless they are of a body, it is not known then where messages begin.
static __always_inline void skip(struct scanner *s, __u32 n)
{
	if (s->stage == LOST || !n)
		return;
	if ((s->stage == BODY || s->stage == CHUNK) && s->body >= n) {
		s->body -= n;
		if (!s->body)
			body_ends(s);
	} else {
		s->stage = LOST;
	}
}

// asked takes the requests that a piece has brought.
static __noinline int asked(struct sock *sk, struct connection *c, const struct scan *scan, __u32 direction)
{
	if (!sk || !c || !scan)
		return 0;
	if (c->role == UNKNOWN) {
		if (direction == SEND) {
			c->role = CLIENT;
			c->responses.next_seq = field(tcp_sk(sk), copied_seq);
		} else {
			serves(sk, c);
		}
	} else if (c->role == SERVER && c->looked != later_observers) {
		look(sk, c);
	}
	if (c->own)
		c->doubtful = false; // promscope speaks HTTP
	requests(c, scan->messages, scan->heads, scan->first_began, scan->last_began);
	if (c->own)
		scrape_begins(sk, c);
	c->tunnel = scan->s.flags & IS_CONNECT;
	return 0;
}

// answered takes the responses that a piece has brought.
static __noinline int answered(struct connection *c, const struct scan *scan)
{
	if (!c || !scan)
		return 0;
	if (scan->continued)
		c->requests.flags &= ~EXPECTS;
	for (__u32 i = 0; i < MAX_RESPONSES; i++) {
		if (i >= scan->messages)
			break;
		respond(c, scan->codes[i]);
	}
	return 0;
}

// begins_request reports whether a piece may begin with a request.
static __noinline int begins_request(struct sock *sk, const struct piece *p, __u32 direction)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);

	if (!sk || !p || !scan)
		return false;
	__builtin_memset(&scan->s, 0, sizeof(scan->s));
	scan->s.stage = START;
	scan->span = p->span;
	scan->offset = 0;
	scan_begins(scan);
	scan_part(scan, p->skb, direction);
	return scan->s.stage != LOST || scan->messages;
}

// fresh gives a socket its state if what it reads or writes may begin with a request.
static __noinline struct connection *fresh(struct sock *sk, const struct piece *p, __u32 direction)
{
	struct connection *c;

	if (!sk || !p || !begins_request(sk, p, direction))
		return NULL;
	c = track(sk);
	if (c) {
		c->requests.stage = START;
		c->requests.next_seq = p->span.seq;
		c->requests_written = direction == SEND;
	}
	return c;
}

// Of one read or write, so many parts are looked at: a part is DATA_BYTES of a head, a message, a body, a chunk, or a
// buffer.
#define MAX_PARTS 64

// follow goes through a piece of a stream of requests, or of responses, and those that follow it. What changes in its
// loop is in memory of a map: see scan_data.
static __noinline int follow(struct sock *sk, struct connection *c, const struct piece *p, __u32 direction, bool requests)
{
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);
	struct span *span;
	struct scanner *s;
	bool chunks;
	__u32 n;

	if (!sk || !c || !p || !scan)
		return 0;
	s = &scan->s;
	span = &scan->span;
	*span = p->span;
	*s = requests ? c->requests : c->responses;
	scan_begins(scan);
	scan->waiting = c->waiting;
	scan->heads = requests ? 0 : c->heads;
	if (requests && c->role == UNKNOWN && c->requests_written != (direction == SEND)) {
		c->requests_written = direction == SEND;
		s->stage = LOST;
		s->next_seq = span->seq;
	}
	n = seen(s, span->seq, span->len + span->left); // by one who peeked, or by one who read less than there was
	scan->offset = n;
	if (!n)
		skip(s, span->seq - s->next_seq);
	if (requests && s->flags & REFUSED && scan->offset < span->len) {
		// The client may leave out the body that it announced, and go on with the next request.
		s->flags &= ~(REFUSED | EXPECTS);
		if (s->stage == BODY || s->stage == CHUNK_SIZE) {
			scan->retry = true;
			scan->saved = *s;
			scan->first = scan->offset;
			s->stage = START;
		}
	}
	if (requests && perhaps_body(s)) {
		scan->retry = true;
		scan->saved = *s;
		scan->saved.stage = BODY;
		scan->saved.flags &= ~UNSURE;
		scan->first = scan->offset;
	}
	if (s->stage == STATUS && s->flags & UNSURE) { // a body may have begun like a status line
		scan->retry = true;
		scan->saved = *s;
		scan->saved.stage = START;
		scan->first = scan->offset;
	}
	for (int i = 0; i < MAX_PARTS; i++) {
		if (!next_part(scan, p->skb, direction))
			break;
	}
	n = span->len + span->left;
	// The parts have run out. A segment is looked at again as its reader goes on; a write is not. Where one response comes
	// in chunks, the rest is taken for more of them.
	if (!requests && !p->skb && s->stage != LOST && scan->offset < n) {
		chunks = s->stage >= CHUNK_SIZE && scan->messages < 2;
		skip(s, n - scan->offset);
		scan->lost |= s->stage == LOST && !chunks;
		scan->offset = n;
	}
	if (s->stage != LOST)
		n = scan->offset;
	s->next_seq = span->seq + n;
	if (requests) {
		c->requests = *s;
		c->no_request |= s->stage == LOST;
		if (scan->messages)
			asked(sk, c, scan, direction);
		else if (scan->foreign && !c->waiting) {
			c->leave = true;
			if (direction == RECEIVE)
				serves_foreign(sk);
		}
	} else {
		c->responses = *s;
		if (scan->messages || scan->continued)
			answered(c, scan);
		else if (scan->other)
			not_http(c);
		if (scan->lost)
			lose(c);
	}
	return 0;
}

// answers_in looks for responses in a piece. As long as it does not matter where they end, one that begins the piece counts.
static __always_inline int answers_in(struct sock *sk, struct connection *c, struct piece *p, __u32 direction)
{
	__u32 all, n;
	int code;

	if (!sk || !c || !p)
		return 0;
	if (c->responses.stage == LOST) {
		all = p->span.len + p->span.left;
		n = seen(&c->responses, p->span.seq, all);
		if (n >= all)
			return 0;
		if (n < p->span.len) {
			code = code_at_start(p, n);
			if ((code >= 200 || code == 101) && c->waiting <= 1) {
				respond(c, code);
				c->responses.next_seq = p->span.seq + all;
				return 0;
			}
			if (code == STATUS_UNREADABLE) {
				lose(c);
				c->responses.next_seq = p->span.seq + all;
				return 0;
			}
			if (code == STATUS_NONE) {
				not_http(c);
				if (!c->waiting || !p->span.more) {
					c->responses.next_seq = p->span.seq + all;
					return 0;
				}
			}
		}
	}
	return follow(sk, c, p, direction, false);
}

// ---- receive ----

// begins_foreign reports whether the piece that was read last begins another protocol.
static __always_inline bool begins_foreign(void)
{
	__u32 direction = RECEIVE;
	struct scan *scan = bpf_map_lookup_elem(&scans, &direction);

	return scan && scan->foreign;
}

// leave_alone gives a connection that begins with another protocol its state, so that what it reads is not looked at again. It is
// looked at as others are if too few would be left for HTTP.
static __noinline int leave_alone(struct sock *sk)
{
	struct connection *c;

	if (!sk)
		return 0;
	serves_foreign(sk);
	if (open_connections >= max_connections / 2)
		return 0;
	c = track(sk);
	if (c)
		c->foreign = c->no_request = true;
	return 0;
}

// first_read looks at a read of a connection that has no state. That is its first, or one of a connection that has carried what
// is no HTTP, or that had to do without state because there were too many.
static __always_inline struct connection *first_read(struct sock *sk, const struct piece *p)
{
	struct connection *c;
	bool again;

	if (!sk || !p)
		return NULL;
	again = has_sent(sk) || p->span.seq != first_received(sk);
	if (again && (!adopted || !looks_again(sk) || open_connections >= max_connections))
		return NULL; // one too many was counted with its first request
	c = fresh(sk, p, RECEIVE);
	if (c)
		c->doubtful = again;
	else if (!again && begins_foreign())
		leave_alone(sk);
	return c;
}

// received looks at what a reader was handed.
static __noinline int received(struct sock *sk, struct connection *c, struct piece *p)
{
	if (!sk || !p)
		return 0;
	if (!c) {
		c = first_read(sk, p);
		if (!c)
			return 0;
	}
	if (clients && c->role == UNKNOWN && !c->noted && !port_excluded(remote_port(sk)) && code_at_start(p, 0) > 0) {
		c->role = CLIENT; // open before: what this answers was written before, too
		c->responses.next_seq = p->span.seq;
		c->requests.stage = LOST;
		c->requests.next_seq = field(tcp_sk(sk), write_seq);
	}
	if (clients && c->role == CLIENT)
		return answers_in(sk, c, p, RECEIVE);
	if (c->noted || c->foreign)
		return 0; // a client's, or no HTTP
	reads_on(c);
	return follow(sk, c, p, RECEIVE, true);
}

static __always_inline __u32 skb_seq(struct sk_buff *skb)
{
	const struct tcp_skb_cb *cb = bpf_rdonly_cast((void *)skb + bpf_core_field_offset(struct sk_buff, cb),
						      bpf_core_type_id_kernel(struct tcp_skb_cb));

	return cb->seq;
}

// segment looks at what a reader takes from a segment: all of it from offset on, however little that reader wants.
static __noinline int segment(struct sock *sk, struct sk_buff *skb, struct connection *c, __u32 offset)
{
	struct piece p = {.skb = skb, .span.base = offset};

	if (!sk || !skb)
		return 0;
	p.span.len = skb->len - offset;
	p.span.seq = skb_seq(skb) + offset;
	return received(sk, c, &p);
}

// asks takes the usual case: a server that waits for a request reads a segment, which is one as a whole, and without a
// body. It returns false in all others. It saves six calls: 200 of 1,200 ns a request (BenchmarkRoundTrip).
static __always_inline bool asks(struct sk_buff *skb, struct connection *c, __u32 offset)
{
	__u32 direction = RECEIVE, n = skb->len - offset;
	struct bpf_dynptr data;
	struct scan *scan;

	scan = bpf_map_lookup_elem(&scans, &direction);
	if (!scan || n > DATA_BYTES || c->requests.next_seq != skb_seq(skb) + offset)
		return false;
	if (bpf_dynptr_from_skb(skb, 0, &data) || bpf_dynptr_read(scan->data, n, &data, offset, 0))
		return false;
	scan->at = 0;
	scan->bytes = n;
	scan->s.stage = START;
	scan->s.flags = 0;
	scan_begins(scan);
	if (find(scan, direction) != FOUND_END || scan->messages != 1 || scan->s.stage != START || scan->at != n)
		return false;
	c->requests.next_seq += n;
	c->tunnel = false;
	ask(c, 1, scan->heads, scan->first_began, scan->first_began);
	return true;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct connection *c;
	__u32 offset;

	if (!sk)
		return 0;
	c = typed_state(sk); // only TCP's have it
	if (c ? c->leave : of_no_interest(sk))
		return 0;
	// Nothing tells where in the segment the reader is, but the two sequence numbers do. They
	// do not for one who peeks beyond the first segment: that is taken as out of its range.
	offset = typed_tcp_sk(sk)->copied_seq - skb_seq(skb);
	if (unlikely(offset >= skb->len))
		return 0;
	if (likely(c && c->role == SERVER && !c->waiting && c->requests.stage == START && c->looked == later_observers) && likely(asks(skb, c, offset)))
		return 0;
	return segment(sk, skb, c, offset);
}

// reading is where a thread's call of tcp_recvmsg puts what it reads.
struct reading {
	__u64 sk; // 0 if what the thread reads is of no interest
	__u64 iter; // of the message
	__u64 base;  // of the first buffer, behind what has been copied to it
	__u64 len;   // bytes of it from there on
	__u64 count; // of all buffers, from there on
	__u64 peek;
	__u64 peeked; // bytes that have been copied: to peek leaves copied_seq where it is
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); // threads that read; each keeps its entry until it exits
	__type(key, __u64);         // of bpf_get_current_pid_tgid
	__type(value, struct reading);
} readings SEC(".maps");

// receives notes the buffers of a reader, who is at the start of tcp_recvmsg. copied, which follows each copy, finds the
// bytes there. When tcp_recvmsg returns it is too late: the socket is not locked any more.
static __always_inline int receives(struct sock *sk, const struct msghdr *msg, int flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct reading *known, reading = {.iter = (__u64)&msg->msg_iter, .peek = flags & MSG_PEEK};
	struct connection *c = raw_state(sk);
	struct buffers b;

	// The socket is not locked yet. Another thread may be about to answer, while this one waits for
	// the lock: so it does not matter here whether reads are ignored.
	known = bpf_map_lookup_elem(&readings, &thread);
	if ((c || !of_no_interest(sk)) && iter_begins(&msg->msg_iter, &b)) {
		reading.sk = (__u64)sk;
		reading.base = b.base;
		reading.len = b.len;
		reading.count = b.count;
	}
	if (known)
		*known = reading;
	else if (reading.sk && bpf_map_update_elem(&readings, &thread, &reading, BPF_NOEXIST))
		count(unreadable);
	return 0;
}

// copied looks at the bytes that tcp_recvmsg has copied to the reader's first buffer.
static __always_inline int copied(struct sock *sk)
{
	__u64 thread = bpf_get_current_pid_tgid(), n;
	struct reading *r = bpf_map_lookup_elem(&readings, &thread);
	const struct iov_iter *iter;
	struct connection *c;
	struct piece p = {};

	if (!r || r->sk != (__u64)sk)
		return 0;
	iter = (void *)r->iter;
	n = r->count - field(iter, count);
	if (!n || n > r->count)
		return 0;
	p.span.base = r->base;
	p.span.len = n < r->len ? n : r->len;
	p.span.seq = field(tcp_sk(sk), copied_seq) + (r->peek ? r->peeked : -n);
	r->peeked += n;
	r->count -= n;
	r->base += n;
	r->len -= p.span.len;
	if (!p.span.len)
		return 0; // it went to another buffer
	c = state(sk);
	if (c ? c->leave : of_no_interest(sk))
		return 0;
	return received(sk, c, &p);
}

// no_reading makes the thread's last call of tcp_recvmsg void: what follows moves bytes from the socket
// elsewhere, and passes tcp_rcv_space_adjust too.
static __always_inline int no_reading(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct reading *r = bpf_map_lookup_elem(&readings, &thread);

	if (r)
		r->sk = 0;
	return 0;
}

static __always_inline void reads_no_more(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&readings, &thread);
}

SEC("kprobe/tcp_recvmsg")
int kprobe_receive(void *ctx)
{
	return receives((void *)argument_1(ctx), (void *)argument_2(ctx), either(recvmsg_flags == 5, argument_5(ctx), argument_4(ctx)));
}

SEC("fentry/tcp_recvmsg")
int fentry_receive(__u64 *ctx)
{
	return receives((void *)ctx[0], (void *)ctx[1], either(recvmsg_flags == 5, ctx[4], ctx[3]));
}

SEC("kprobe/tcp_rcv_space_adjust")
int kprobe_received(void *ctx)
{
	return copied((void *)argument_1(ctx));
}

SEC("fentry/tcp_rcv_space_adjust")
int BPF_PROG(fentry_received, struct sock *sk)
{
	return copied(sk);
}

SEC("kprobe/tcp_splice_read")
int kprobe_splice(void *ctx)
{
	return no_reading();
}

SEC("fentry/tcp_splice_read")
int fentry_splice(void *ctx)
{
	return no_reading();
}

SEC("kprobe/tcp_getsockopt") // TCP_ZEROCOPY_RECEIVE
int kprobe_getsockopt(void *ctx)
{
	return no_reading();
}

SEC("fentry/tcp_getsockopt")
int fentry_getsockopt(void *ctx)
{
	return no_reading();
}

// ---- send ----

// no_interest reports whether nothing matters of what the socket writes.
static __always_inline bool no_interest(const struct sock *sk, const struct connection *c)
{
	return c ? c->leave : has_sent(sk) && likely(!scrapes || !being_scraped());
}

// first_written looks at a write of a connection that has no state. That is promscope's first, that of a server that answers
// what was no request, or one that a scrape causes.
static __noinline struct connection *first_written(struct sock *sk, const struct piece *p)
{
	struct connection *c;

	if (!sk || !p)
		return NULL;
	if (!own_requests && promscope && current_tgid() == promscope) {
		observer(sk);
		return NULL;
	}
	if (scrapes && being_scraped() && begins_request(sk, p, SEND))
		return track(sk);
	if (has_sent(sk))
		return NULL;
	if (!port_excluded(local_port(sk)) && code_at_start(p, 0) > 0) {
		if (open_connections >= max_connections)
			return NULL; // which was counted when a request was read
		c = track(sk);
		if (c)
			c->requests.next_seq = field(tcp_sk(sk), copied_seq);
		return c;
	}
	return clients && !port_excluded(remote_port(sk)) ? fresh(sk, p, SEND) : NULL;
}

// asks_in_turn notes a client's connection that carries what a scrape causes, or used to.
static __noinline int asks_in_turn(struct sock *sk, struct connection *c, const struct piece *p)
{
	int own;

	if (!sk || !c || !p)
		return 0;
	own = being_scraped();
	if (c->noted)
		note_again(sk, own);
	else if (own && begins_request(sk, p, SEND))
		note(sk, c);
	return 0;
}

// asks_itself takes the first write of a socket of promscope's that was open before the collector, and returns whether it is a
// client's. One that begins with a response serves others.
static __noinline int asks_itself(struct sock *sk, struct connection *c, const struct piece *p)
{
	if (!sk || !c || !p)
		return false;
	c->leave = port_excluded(local_port(sk)) || code_at_start(p, 0) <= 0;
	if (!c->leave)
		unnote(sk, c);
	return c->leave;
}

// written looks at a write.
static __always_inline int written(struct sock *sk, struct connection *c, struct piece *p)
{
	if (!sk || !p)
		return 0;
	if (!c) {
		c = first_written(sk, p);
		if (!c)
			return 0;
	}
	if (c->noted && current_tgid() == promscope && asks_itself(sk, c, p))
		return 0;
	if (c->role == UNKNOWN && code_at_start(p, 0) > 0) {
		serves(sk, c); // what this answers was not seen
		c->responses.next_seq = p->span.seq;
	}
	if (c->own) {
		scrape_ends(sk, c);
		return 0;
	}
	if (c->role == SERVER) {
		answers_in(sk, c, p, SEND);
		if (c->doubtful && !c->waiting)
			forget(sk); // what it answered was no request
		return 0;
	}
	if (scrapes || c->noted)
		asks_in_turn(sk, c, p);
	if (clients && (c->role == CLIENT || !port_excluded(remote_port(sk))))
		follow(sk, c, p, SEND, true);
	if (c->role == UNKNOWN && c->no_request && c->requests.stage == LOST && !c->noted) {
		if (c->foreign)
			c->leave = true;
		else
			forget(sk); // it reads no requests, and writes neither responses nor requests
	}
	return 0;
}

// sends looks at what a writer hands over. The kernel comes by here for each part of a long write, and
// a program may repeat what was not taken whole: the sequence number tells what has been looked at.
static __always_inline int sends(struct sock *sk, const struct msghdr *msg)
{
	struct connection *c = state(sk);
	struct piece p = {};
	struct buffers b;

	if (no_interest(sk, c))
		return 0;
	if (!iter_begins(&msg->msg_iter, &b) || !b.count)
		return 0; // pages, of a file: no status line, as far as one can see
	p.span.base = b.base;
	p.span.len = b.len;
	p.span.seq = field(tcp_sk(sk), write_seq);
	p.span.iov = b.iov + sizeof(struct iovec);
	p.span.more = b.more;
	p.span.left = b.count - b.len;
	return written(sk, c, &p);
}

// answers takes the usual case: one request waits, and the write begins with a whole status line. It returns
// false in all others. It saves a call, and a stack of more than 64 bytes, beyond which the kernel gives the program a
// stack of its own.
static __always_inline bool answers(struct sock *sk, const struct msghdr *msg, struct connection *c)
{
	const struct iov_iter *iter = &msg->msg_iter;
	__u64 words[2]; // "HTTP/1.1 200\r\n\r\n" fills them
	__u64 base, len;
	struct head h;
	__u32 seq;
	int code;

	if (c->role != SERVER || c->waiting != 1 || c->responses.stage != LOST || iter->iov_offset)
		return false;
	if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		base = (__u64)iter->ubuf;
		len = iter->count;
	} else if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		struct iovec first;

		read_iovec(iter_iov(iter), &first);
		base = (__u64)first.iov_base;
		len = first.iov_len;
	} else {
		return false;
	}
	seq = typed_tcp_sk(sk)->write_seq;
	if (len < sizeof(words) || iter->count < len || seen(&c->responses, seq, iter->count))
		return false;
	// As a string it is read by words, where bpf_probe_read_user copies bytes. It is shorter if it has a zero byte.
	if (bpf_probe_read_user_str(words, sizeof(words), (void *)base) != sizeof(words))
		return false;
	h.low = words[0];
	h.high = words[1];
	h.bytes = HEAD_BYTES;
	code = status_code(&h);
	if (code < 200)
		return false;
	response(c, code);
	c->responses.next_seq = seq + iter->count;
	return true;
}

static __noinline int sends_other(struct sock *sk, const struct msghdr *msg)
{
	return sk && msg ? sends(sk, msg) : 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, const struct msghdr *msg)
{
	struct connection *c = typed_state(sk);

	if (no_interest(sk, c) || (c && likely(answers(sk, msg, c))))
		return 0;
	return sends_other(sk, msg);
}

SEC("kprobe/tcp_sendmsg_locked")
int kprobe_send(void *ctx)
{
	return sends((void *)argument_1(ctx), (void *)argument_2(ctx));
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(fentry_send, struct sock *sk, const struct msghdr *msg)
{
	return sends(sk, msg);
}

// ---- ends ----

static __always_inline int destroyed(struct sock *sk)
{
	struct connection *c = raw_state(sk);

	if (!c)
		return 0;
	connection_ends(sk, c);
	if (typed)
		count_down(open_connections); // the kernel frees what lies in the socket
	else
		forget(sk);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	return destroyed(sk);
}

SEC("kprobe/tcp_v4_destroy_sock") // of IPv6, too
int kprobe_destroy(void *ctx)
{
	return destroyed((void *)argument_1(ctx));
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (!typed)
		reads_no_more();
	return thread_exits(task);
}

SEC("kprobe/exit_files") // which each thread passes after it has left its process
int kprobe_exit(void *ctx)
{
	reads_no_more();
	return thread_exits((void *)argument_1(ctx));
}

// ---- what was there before ----

// adopt_open runs over all open files once, and gives every TCP connection its state.
SEC("iter/task_file")
int adopt_open(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	promscope = current_tgid(); // who runs this
	if (!task || !file || task->pid != task->tgid)
		return 0;
	if (typed) {
		socket = bpf_sock_from_file(file);
	} else { // kernels before 5.11 do not have that function
		if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
			return 0;
		socket = file->private_data;
	}
	if (!socket)
		return 0;
	sk = field(socket, sk);
	if (sk)
		adopt(sk, task->tgid == promscope && !own_requests);
	return 0;
}
