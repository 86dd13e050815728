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
//   - trampolines: fexit_receive, fentry_send

#include "kernel.h"
#include <bpf/bpf_endian.h>
#include "connection.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Which argument of tcp_recvmsg its flags are, from 1 on, and how many it has. Set by the loader.
volatile const __u32 recvmsg_flags;
volatile const __u32 recvmsg_arguments;

// ---- receive ----

// incoming is what a reader was handed.
struct incoming {
	struct sk_buff *skb; // typed programs: the segment it lies in
	__u64 base;          // others: where it lies in the reader's memory
	__u32 len;
	__u32 seq; // of the first byte
};

// read_user reads the head of what lies in the memory of the current process.
static __always_inline void read_user(struct head *h, __u64 base, __u64 len, __u32 want)
{
	__u32 n = len < want ? len : want;

	h->low = 0;
	h->high = 0;
	h->bytes = n;
	if (bpf_probe_read_user(h, n & 15, (void *)base)) {
		count(unreadable);
		h->bytes = 0;
	}
}

// read_skb reads the head of what lies in the segment from offset on.
static __always_inline void read_skb(struct head *h, struct sk_buff *skb, __u32 offset, __u32 want)
{
	__u32 left = skb->len - offset, linear = skb->len - skb->data_len;
	__u32 n = left < want ? left : want;
	__u64 words[2] = {}, *slice;
	struct bpf_dynptr data;

	if (offset + n <= linear) {
		const struct timespec64 *at; // a type of two words that all kernels have: a cast needs one

		at = bpf_rdonly_cast(skb->data + offset, bpf_core_type_id_kernel(struct timespec64));
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
		count(unreadable);
	h->low = words[0];
	h->high = words[1];
	h->bytes = n;
}

static __always_inline void read_incoming(struct head *h, const struct incoming *in, __u32 offset, __u32 want)
{
	if (typed)
		read_skb(h, in->skb, offset, want);
	else
		read_user(h, in->base + offset, in->len - offset, want);
}

// skip_preamble returns the offset behind empty lines before a request, which a server ignores
// (RFC 9112, 2.2), and behind a header of the PROXY protocol, version 2.
static __noinline __u32 skip_preamble(const struct incoming *in, __u32 offset)
{
	struct head h;

	if (!in)
		return offset;
	read_incoming(&h, in, offset, HEAD_BYTES);
	if (h.low == LONG('\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q')) {
		if (offset + 16 >= in->len)
			return in->len;
		read_incoming(&h, in, offset + 14, 2);
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

// received looks at what a reader was handed, from offset on.
static __noinline int received(struct sock *sk, struct connection *c, const struct incoming *in, __u32 offset)
{
	struct head h;
	__u32 next_seq;

	if (!sk || !in)
		return 0;
	if (c && c->kept.bytes && !c->kept_written && (__s32)(c->read_until - in->seq - offset) > 0)
		offset = c->read_until - in->seq; // a peek has seen what is before
	if (offset >= in->len)
		return 0;
	if (clients && c && c->role == UNKNOWN && !port_excluded(remote_port(sk))) {
		read_incoming(&h, in, offset, HEAD_BYTES);
		if (status_code(&h) > 0)
			c->role = CLIENT; // open before: what this answers was written before, too
	}
	if (c && c->role == CLIENT) {
		read_incoming(&h, in, offset, HEAD_BYTES);
		next_seq = in->seq + offset + h.bytes;
		if (c->kept.bytes)
			join(c, &h, false);
		c = may_answer(sk, c, &h, false, next_seq);
		if (c && !c->ignore_writes)
			c->sent_until = field(tcp_sk(sk), write_seq); // not kept while the request was being written
		return 0;
	}
	if (!c || !c->kept.bytes) {
		offset = skip_preamble(in, offset);
		if (offset >= in->len)
			return 0;
	}
	read_incoming(&h, in, offset, REQUEST_BYTES);
	next_seq = in->seq + offset + h.bytes;
	if (c && c->kept.bytes)
		join(c, &h, false);
	may_ask(sk, c, &h, false, next_seq);
	return 0;
}

static __always_inline __u32 skb_seq(struct sk_buff *skb)
{
	const struct tcp_skb_cb *cb = bpf_rdonly_cast((void *)skb + bpf_core_field_offset(struct sk_buff, cb),
						      bpf_core_type_id_kernel(struct tcp_skb_cb));

	return cb->seq;
}

// asks takes the usual case: a segment to a server that waits for a request begins with one. It returns
// false in all others.
static __noinline int asks(struct sk_buff *skb, struct connection *c, __u32 offset)
{
	enum verdict verdict;
	struct head h;

	if (!skb || !c)
		return false;
	read_skb(&h, skb, offset, REQUEST_BYTES);
	verdict = request_verdict(&h);
	if (verdict < REQUEST)
		return false;
	c->get_bytes = (__u32)h.low == GET ? skb->len - offset : 0;
	c->started = bpf_ktime_get_ns();
	request(c, SERVER, verdict);
	return true;
}

// others looks at a segment in all cases but the usual one.
static __noinline int others(struct sk_buff *skb, struct connection *c, __u32 offset)
{
	struct incoming in = {.skb = skb};

	if (!skb)
		return 0;
	if (c)
		c->get_bytes = 0;
	in.len = skb->len;
	in.seq = skb_seq(skb);
	return received(skb->sk, c, &in, offset);
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
	if (!c && of_no_interest(sk))
		return 0;
	if (c && c->ignore_reads) {
		c->get_bytes = 0; // there is more of it
		reads_on(c);
		return 0;
	}
	// Nothing tells where in the segment the reader is, but the two sequence numbers do. They
	// do not for one who peeks beyond the first segment: that is taken as out of its range.
	offset = typed_tcp_sk(sk)->copied_seq - skb_seq(skb);
	if (unlikely(offset >= skb->len))
		return 0;
	// A GET has no body: what follows its response begins a request. One of the same length, as pollers and
	// load generators send, is taken for another GET unread. That saves 120 of 690 ns per request
	// (BenchmarkRoundTrip, http against http-unlike). The response counts in any case, under its status.
	if (c && c->get_bytes == skb->len - offset) {
		c->started = bpf_ktime_get_ns();
		request(c, SERVER, REQUEST);
		return 0;
	}
	if (likely(c && c->role == SERVER && !c->kept.bytes && skb->len - offset >= REQUEST_BYTES) && asks(skb, c, offset))
		return 0;
	return others(skb, c, offset);
}

// copied looks at bytes that tcp_recvmsg has copied to a buffer.
static __always_inline int copied(struct sock *sk, __u64 base, __u32 len, __u32 seq)
{
	struct incoming in = {.base = base, .len = len, .seq = seq};
	struct connection *c = state(sk);

	if (!c && of_no_interest(sk))
		return 0;
	if (c && c->ignore_reads) {
		reads_on(c);
		return 0;
	}
	return received(sk, c, &in, 0);
}

// reading is where a thread's call of tcp_recvmsg puts what it reads.
struct reading {
	__u64 sk; // 0 if what the thread reads is of no interest
	__u64 iter; // of the message
	__u64 base;  // of the first buffer, behind what has been copied to it
	__u64 len;   // bytes of it from there on
	__u64 count; // of all buffers, from there on
	__u64 peek;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); // threads that read; each keeps its entry until it exits
	__type(key, __u64);         // of bpf_get_current_pid_tgid
	__type(value, struct reading);
} readings SEC(".maps");

// Nothing is left of the entry when tcp_recvmsg returns: its iterator may be gone. So the first
// function notes the buffers, and the second, which follows each copy, finds the bytes there. A kretprobe would need as
// many instances as threads wait in tcp_recvmsg.
SEC("kprobe/tcp_recvmsg")
int kprobe_receive(void *ctx)
{
	struct sock *sk = (void *)argument_1(ctx);
	const struct msghdr *msg = (void *)argument_2(ctx);
	__u64 thread = bpf_get_current_pid_tgid(), address = (__u64)sk;
	int flags = either(recvmsg_flags == 5, argument_5(ctx), argument_4(ctx));
	struct reading *known, reading = {.iter = (__u64)&msg->msg_iter, .peek = flags & MSG_PEEK};
	struct connection *c = bpf_map_lookup_elem(&addresses, &address);
	struct buffers b;

	// The socket is not locked yet. Another thread may be about to answer, while this one waits for
	// the lock: so it does not matter here whether reads are ignored.
	known = bpf_map_lookup_elem(&readings, &thread);
	if ((c || !of_no_interest(sk)) && iter_begins(&msg->msg_iter, &b)) {
		reading.sk = address;
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

SEC("kprobe/tcp_rcv_space_adjust")
int kprobe_received(void *ctx)
{
	struct sock *sk = (void *)argument_1(ctx);
	__u64 thread = bpf_get_current_pid_tgid(), base, len, n;
	struct reading *r = bpf_map_lookup_elem(&readings, &thread);
	const struct iov_iter *iter;

	if (!r || r->sk != (__u64)sk)
		return 0;
	iter = (void *)r->iter;
	n = r->count - field(iter, count);
	if (!n || n > r->count)
		return 0;
	base = r->base;
	len = n < r->len ? n : r->len;
	r->count -= n;
	r->base += n;
	r->len -= len;
	if (!len)
		return 0; // it went to another buffer than the first
	return copied(sk, base, len, field(tcp_sk(sk), copied_seq) - (r->peek ? 0 : n));
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

SEC("kprobe/tcp_splice_read")
int kprobe_splice(void *ctx)
{
	return no_reading();
}

SEC("kprobe/tcp_getsockopt") // TCP_ZEROCOPY_RECEIVE
int kprobe_getsockopt(void *ctx)
{
	return no_reading();
}

// When tcp_recvmsg returns, the iterator tells where the bytes went.
SEC("fexit/tcp_recvmsg")
int fexit_receive(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	const struct msghdr *msg = (void *)ctx[1];
	int flags = either(recvmsg_flags == 5, ctx[4], ctx[3]);
	int n = recvmsg_arguments == 4 ? ctx[4] : either(recvmsg_arguments == 5, ctx[5], ctx[6]);
	struct buffers b = {};

	// With MSG_TRUNC nothing is copied.
	if (n <= 0 || flags & MSG_TRUNC || !iter_ended(&msg->msg_iter, n, &b))
		return 0;
	return copied(sk, b.base, b.len, field(tcp_sk(sk), copied_seq) - (flags & MSG_PEEK ? 0 : n));
}

// ---- send ----

#define CONTINUE_BYTES 25 // "HTTP/1.1 100 Continue\r\n\r\n"

// written looks at a buffer of a write, which a message may begin with, and returns what is then
// known of the connection.
static __noinline struct connection *written(struct sock *sk, struct connection *c, __u64 base, __u64 len)
{
	struct head h;

	if (!sk)
		return c;
	read_user(&h, base, len, HEAD_BYTES);
	if (!h.bytes)
		return c;
	if (c && c->kept.bytes)
		join(c, &h, true);

	if (c && c->role == SERVER) {
		if (len > CONTINUE_BYTES && status_code(&h) == 100) { // the final response may follow at once
			struct head final;

			read_user(&final, base + CONTINUE_BYTES, len - CONTINUE_BYTES, HEAD_BYTES);
			if (status_code(&final) > 0)
				h = final;
		}
		return may_answer(sk, c, &h, true, 0);
	}
	if (c && c->role == UNKNOWN) {
		int code = status_code(&h);

		if (code > 0) {
			c->role = SERVER; // open before: what this answers was read before, too
			unasked(c, code);
			return c;
		}
	}
	if (clients && !port_excluded(remote_port(sk)))
		c = may_ask(sk, c, &h, true, 0);
	if (c && c->role == UNKNOWN && c->no_request && !c->kept.bytes) {
		forget(sk); // it reads no requests, and writes neither responses nor requests
		return NULL;
	}
	return c;
}

// vector is the buffers of a write after the first.
struct vector {
	struct sock *sk;
	__u64 iov;  // address of the next iovec
	__u32 seq;  // of its first byte
	__u32 left; // bytes from there on
};

// written_next looks at the next buffer, and returns 1 after the last of interest.
static __always_inline long written_next(struct vector *v)
{
	struct connection *c = state(v->sk);
	struct iovec buffer = {};
	__u32 len;

	if (!v->left || (c ? c->ignore_writes : !clients) || !read_iovec(v->iov, &buffer))
		return 1;
	len = buffer.iov_len < v->left ? buffer.iov_len : v->left;
	// Too few bytes for a status line, unless they are a part of one.
	if (len >= HEAD_BYTES || (c && c->kept.bytes)) {
		if (!c || (__s32)(v->seq - c->sent_until) >= 0)
			written(v->sk, c, (__u64)buffer.iov_base, len);
	}
	v->seq += len;
	v->left -= len;
	v->iov += sizeof(struct iovec);
	return 0;
}

static long written_callback(__u32 i, struct vector *v)
{
	return written_next(v);
}

// Kernels before 5.17 have no bpf_loop. A loop that the verifier unrolls has to be short.
#define MAX_BUFFERS 64
#define MAX_BUFFERS_UNROLLED 4

static __noinline int written_vector(struct vector *v, __u32 buffers)
{
	if (!v)
		return 0;
	bpf_loop(buffers < MAX_BUFFERS ? buffers : MAX_BUFFERS, written_callback, v, 0);
	return 0;
}

static __noinline int written_vector_unrolled(struct vector *v, __u32 buffers)
{
	if (!v)
		return 0;
	for (__u32 i = 0; i < MAX_BUFFERS_UNROLLED && i < buffers; i++) {
		if (written_next(v))
			break;
	}
	return 0;
}

// sends looks at what a writer hands over. The kernel comes by here for each part of a long write, and
// a program may repeat what was not taken whole: the sequence number tells what has been looked at.
// That is the start of each buffer. A message begins nowhere else, but pipelined responses may go out
// in one write.
static __always_inline int sends(struct sock *sk, const struct msghdr *msg, bool loop)
{
	struct connection *c = state(sk);
	struct buffers b;
	__u32 seq;

	if (c ? c->ignore_writes : (!clients || (adopted && field(tcp_sk(sk), bytes_sent))))
		return 0;
	seq = field(tcp_sk(sk), write_seq);
	if (!iter_begins(&msg->msg_iter, &b)) {
		if (c)
			c->sent_until = seq; // pages, of a file: no status line, as far as one can see
		return 0;
	}
	if (!b.count)
		return 0;
	if (!c || (__s32)(seq - c->sent_until) >= 0)
		c = written(sk, c, b.base, b.len);
	// Of two buffers the second is a body, as a rule, and to read it would be in vain.
	if (b.more && c && (b.more > 1 || c->bodyless || c->kept.bytes)) {
		struct vector v = {
			.sk = sk,
			.iov = b.iov + sizeof(struct iovec),
			.seq = seq + b.len,
			.left = b.count - b.len,
		};

		if (loop)
			written_vector(&v, b.more);
		else
			written_vector_unrolled(&v, b.more);
		c = state(sk);
	}
	if (c)
		c->sent_until = seq + b.count;
	return 0;
}

// answers takes the usual case: a request waits, and the write begins with a whole status line. It returns
// false in all others. Together with asks it saves 150 of 850 ns per request (BenchmarkRoundTrip): no call, and a
// stack of less than 64 bytes, beyond which the kernel gives the program a stack of its own.
static __always_inline bool answers(struct sock *sk, const struct msghdr *msg, struct connection *c)
{
	const struct iov_iter *iter = &msg->msg_iter;
	__u64 words[2]; // "HTTP/1.1 200\r\n\r\n" fills them
	__u64 base, len;
	struct head h;
	__u32 seq;
	int code;

	if (c->role != SERVER || !c->pending || c->kept.bytes || iter->iov_offset)
		return false;
	if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		base = (__u64)iter->ubuf;
		len = iter->count;
	} else if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC) && iter->nr_segs <= 2) {
		struct iovec first;

		read_iovec(iter_iov(iter), &first);
		base = (__u64)first.iov_base;
		len = first.iov_len;
	} else {
		return false;
	}
	seq = typed_tcp_sk(sk)->write_seq;
	if (len < sizeof(words) || iter->count < len || (__s32)(seq - c->sent_until) < 0)
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
	if (iter->nr_segs > 1 && (c->head || code == 204 || code == 304) && iter->iter_type != bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return false; // what follows is no body
	response(c, code);
	c->sent_until = seq + iter->count;
	return true;
}

static __noinline int sends_other(struct sock *sk, const struct msghdr *msg)
{
	return sk && msg ? sends(sk, msg, true) : 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, const struct msghdr *msg)
{
	struct connection *c = typed_state(sk);

	if (!c && (!clients || (adopted && typed_tcp_sk(sk)->bytes_sent)))
		return 0;
	if (c && (c->ignore_writes || likely(answers(sk, msg, c))))
		return 0;
	return sends_other(sk, msg);
}

SEC("kprobe/tcp_sendmsg_locked")
int kprobe_send(void *ctx)
{
	return sends((void *)argument_1(ctx), (void *)argument_2(ctx), false);
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(fentry_send, struct sock *sk, const struct msghdr *msg)
{
	return sends(sk, msg, false);
}

// ---- ends ----

static __always_inline int destroyed(struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct connection *c;

	if (typed)
		c = state(sk);
	else
		c = bpf_map_lookup_elem(&addresses, &address);
	if (!c)
		return 0;
	connection_ends(c);
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
	return thread_exits(task);
}

SEC("kprobe/exit_files") // which each thread passes after it has left its process
int kprobe_exit(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&readings, &thread);
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
		adopt(sk);
	return 0;
}
