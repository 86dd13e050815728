// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// The state of each connection, the counters of each process, and how what a socket reads and writes
// changes them. It does not matter here which hooks see the bytes.
#pragma once

#include <bpf/bpf_endian.h>
#include "iter.h"
#include "parse.h"
#include "scan.h"

#define BUCKETS 41      // bounds of the histogram; one more counts what exceeds the last
#define BUCKETS_POW2 64 // for the binary search
#define CODE_COLUMNS 24 // codes counted in place; column 0 stands for all others
#define CODES 512       // of the table that gives a code's column, from 100 on

enum role {
	UNKNOWN, // open before the collector, or not enough bytes yet
	SERVER,
	CLIENT,
};

// The loader sets these before the programs are verified. They are constant to the verifier from then on.
volatile const __u64 bucket_bounds[BUCKETS_POW2]; // nanoseconds, ascending, filled up with the maximum
volatile const __u8 code_columns[CODES];
volatile const __u8 excluded_ports[65536 / 8];
volatile const __u32 max_connections;
volatile const bool clients;
volatile const bool own_requests; // whether requests that promscope makes count, too

// adopted becomes true when every connection that was open before the hooks has its state.
// From then on a connection without state that has sent something is of no interest: a server
// reads a request before it sends.
volatile bool adopted;

// promscope is its own tgid, as the kernel numbers it: adopt_open learns it.
volatile __u32 promscope;

// scrapes are the connections whose last request was promscope's, or caused by it, and whose answer has not begun.
volatile __u64 scrapes;

// later_observers counts the connections that had sent something already when they came to `observers`. Whoever serves one
// may have looked for it before.
volatile __u32 later_observers;

// These change with every connection. On a cache line of their own they do not slow down those that
// read the above.
__u64 open_connections __attribute__((aligned(64))); // with state
__u64 lost_connections_limit;
__u64 lost_connections_memory;
__u64 lost_requests; // no room for the process
__u64 lost_codes;    // counted, but not by code
__u64 lost_responses; // not found in what was written
__u64 unreadable;    // heads that could not be read

// owner names a process in one of its roles. A pid that is used again has another start time.
struct owner {
	__u32 tgid;
	__u32 role;
	__u64 start_time; // of the process: nanoseconds of the monotonic clock
};

// process has the counters of one owner. All CPUs add to them, atomically: so they are right where one
// program preempts another, and take the same memory on any number of CPUs. What every request changes
// lies together.
struct process {
	__u64 last;    // when a response was counted last: nanoseconds of the monotonic clock
	__u64 started; // requests that began to wait
	__u64 sum;     // nanoseconds from request to response, of all responses
	__u64 buckets[BUCKETS + 1]; // all of them together are the responses
	__u64 codes[CODE_COLUMNS];
	__u64 pipelined;  // responses to requests that came while another waited
	__u64 unasked;    // responses that answer no request that was seen
	__u64 own;        // requests by promscope, or caused by it; no other counter has them
	__u64 unanswered; // requests whose connection ended first
	__u64 withdrawn;  // requests that another process took over, that were not HTTP, or whose responses were not seen
	__u64 exited;     // nanoseconds of the monotonic clock; 0 while it lives
	__u64 scrape;     // address of the socket whose `own` request the process read last, until it begins to answer; else 0
	__u64 foreign;    // 1 if it serves TLS or HTTP/2, too
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // the loader sets it
	__type(key, struct owner);
	__type(value, struct process);
} processes SEC(".maps");

const struct process new_process = {};

// rare_code counts the responses with a code that has no column.
struct rare_code {
	struct owner owner;
	__u64 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct rare_code);
	__type(value, __u64);
} rare_codes SEC(".maps");

// endpoint is an address and a port of TCP; an IPv4 address as the IPv6 address that it is mapped to.
struct endpoint {
	__u64 high; // of the address, in network order
	__u64 low;
	__u32 port;
	__u32 zero;
};

// ends tell a connection from all others that are open.
struct ends {
	struct endpoint client;
	struct endpoint server;
	__u64 net; // the network namespace, where the addresses are loopback's; else 0: the ends may be in two
};

// connection is the state of a socket. The kernel has the socket locked when it changes.
struct connection {
	__u64 began;      // when the first byte of the request was read (a client's: written) that waits the longest
	__u64 last_began; // and of that which waits the shortest
	__u64 heads;      // a bit for each request that waits: it is a HEAD; the oldest is the lowest
	struct owner owner; // whose requests those are
	struct scanner requests;
	struct scanner responses; // LOST while it does not matter where they end
	__u32 first_seq;  // of the first byte received; 0 if not known yet. It tells one socket from the next at its address
	__u32 looked;     // a server's: later_observers, when it was looked up in `observers`; or EACH_REQUEST
	__u16 waiting;    // requests that wait for their responses
	__u8 role;
	bool requests_written; // `requests` is of what it writes
	bool following;   // a request that waited with those that wait has been answered
	bool leave;       // nothing is of interest any more
	bool answered;    // at least once: this is HTTP
	bool tunnel;      // the last request is a CONNECT
	bool open_before; // this collector
	bool no_request;  // what came begins no request, while the role is unknown
	bool noted;       // its ends are in `observers`
	bool own;         // its last request is promscope's, or caused by it
	bool foreign;     // it begins with TLS or HTTP/2; a server that does not speak these may answer 400
	bool doubtful;    // it has carried what is no HTTP: its requests have no owner before one is answered
	bool scrape;      // and is one of `scrapes`
};

#define EACH_REQUEST (~0U)

// With typed programs the state lies in the socket itself.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} sockets SEC(".maps");

// Other programs find it by the socket's address.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // the loader sets it
	__type(key, __u64);
	__type(value, struct connection);
} addresses SEC(".maps");

// observers are the connections of promscope, and those by which an exporter asks its server during a scrape. The value tells
// whether the last request was promscope's, or caused by it. The kernel gives a port to several connections at a time, to
// different servers. A connection has its entry before that is sent, and up to its end.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ends);
	__type(value, __u8);
} observers SEC(".maps");

// ended_observers are those that the client has closed. A server that was busy or stopped may read their requests yet.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512); // which the kernel allocates at once
	__type(key, struct ends);
	__type(value, __u8);
} ended_observers SEC(".maps");

// noted_ends are the keys of `observers` by the address of the client's socket, which has lost them when it is destroyed.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct ends);
} noted_ends SEC(".maps");

static __always_inline const struct tcp_sock *typed_tcp_sk(const struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
}

static __always_inline const struct tcp_sock *tcp_sk(const struct sock *sk)
{
	return typed ? typed_tcp_sk(sk) : (const struct tcp_sock *)sk;
}

static __always_inline __u16 local_port(const struct sock *sk)
{
	return field(sk, __sk_common.skc_num);
}

static __always_inline __u16 remote_port(const struct sock *sk)
{
	return bpf_ntohs(field(sk, __sk_common.skc_dport));
}

#define AF_INET6 10
#define TCP_CLOSE_WAIT 8

// endpoint_of returns the local end of a socket, or the remote one.
static __always_inline struct endpoint endpoint_of(const struct sock *sk, bool local)
{
	struct endpoint e = {.port = local ? local_port(sk) : remote_port(sk)};

	if (field(sk, __sk_common.skc_family) == AF_INET6) {
		const struct in6_addr *a = local ? &sk->__sk_common.skc_v6_rcv_saddr : &sk->__sk_common.skc_v6_daddr;

		bpf_probe_read_kernel(&e.high, 16, a);
	} else {
		__u32 a = local ? field(sk, __sk_common.skc_rcv_saddr) : field(sk, __sk_common.skc_daddr);

		e.low = (__u64)a << 32 | 0xffff0000; // ::ffff:a
	}
	return e;
}

// loopback returns whether the address is 127.0.0.0/8 or ::1.
static __always_inline bool loopback(const struct endpoint *e)
{
	return !e->high && ((e->low & 0xffffffffffULL) == 0x7fffff0000ULL || e->low == 1ULL << 56);
}

// ends_of returns the ends of a socket's connection: of the client's socket, or of the server's.
static __always_inline struct ends ends_of(const struct sock *sk, bool client)
{
	struct ends e = {.client = endpoint_of(sk, client), .server = endpoint_of(sk, !client)};

	if (loopback(&e.server))
		e.net = (__u64)field(sk, __sk_common.skc_net.net);
	return e;
}

static __always_inline bool port_excluded(__u16 port)
{
	return excluded_ports[port >> 3] & (1 << (port & 7));
}

static __always_inline __u32 current_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

// ---- processes ----

// owner_of returns the counters of the connection's owner, if they are still there.
static __always_inline struct process *owner_of(const struct connection *c)
{
	return bpf_map_lookup_elem(&processes, &c->owner);
}

// current_leader returns the first thread of the current process.
static __always_inline const struct task_struct *current_leader(void)
{
	// The cast saves half of the time that loading takes: for each pointer that is loaded from one that it trusts, the
	// verifier searches all types of the kernel four times, and it comes by here 300 times.
	if (typed)
		return ((struct task_struct *)bpf_rdonly_cast(bpf_get_current_task_btf(), bpf_core_type_id_kernel(struct task_struct)))->group_leader;
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
}

// current_server returns the current process as a server.
static __always_inline struct owner current_server(void)
{
	struct owner owner = {.tgid = current_tgid(), .role = SERVER};
	const struct task_struct *leader = current_leader();

	owner.start_time = field(leader, start_time);
	return owner;
}

// counters returns the counters of an owner, which it makes if there are none.
static __always_inline struct process *counters(const struct owner *owner)
{
	struct process *process = bpf_map_lookup_elem(&processes, owner);

	if (!process) {
		bpf_map_update_elem(&processes, owner, &new_process, BPF_NOEXIST); // or another thread was first
		process = bpf_map_lookup_elem(&processes, owner);
	}
	return process;
}

// bind makes the current process the owner of the connection, and returns its counters.
static __noinline struct process *bind(struct connection *c, __u32 tgid)
{
	const struct task_struct *leader;
	struct process *process;

	if (!c)
		return NULL;
	leader = current_leader();
	c->owner.tgid = tgid;
	c->owner.role = c->role;
	c->owner.start_time = field(leader, start_time);
	process = counters(&c->owner);
	// A process may name itself after its first connection: the name follows with the next.
	if (process)
		bpf_probe_read_kernel(process->comm, sizeof(process->comm), &leader->comm);
	return process;
}

static __noinline int owner_exits(const struct owner *owner)
{
	struct process *process;

	if (!owner)
		return 0;
	process = bpf_map_lookup_elem(&processes, owner);
	if (process && !process->exited)
		process->exited = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int thread_exits(const struct task_struct *task)
{
	struct owner owner = {.role = SERVER};

	if (typed ? task->signal->live.counter : BPF_CORE_READ(task, signal, live.counter))
		return 0; // other threads live on
	owner.tgid = field(task, tgid);
	owner.start_time = typed ? task->group_leader->start_time : BPF_CORE_READ(task, group_leader, start_time);
	owner_exits(&owner);
	owner.role = CLIENT;
	owner_exits(&owner);
	return 0;
}

// ---- connections ----

// first_received returns the sequence number of the first byte that the connection has received,
// which never changes (tcp_rcv_nxt_update in net/ipv4/tcp_input.c advances both).
static __always_inline __u32 first_received(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return field(tp, rcv_nxt) - (__u32)field(tp, bytes_received);
}

// scrape_begins notes that the process has read a request that is promscope's, or caused by it.
static __noinline int scrape_begins(struct sock *sk, struct connection *c)
{
	struct process *process;

	if (!sk || !c)
		return 0;
	process = owner_of(c);
	if (process)
		process->scrape = (__u64)sk;
	if (!c->scrape)
		count(scrapes);
	c->scrape = true;
	return 0;
}

// scrape_ends notes that the answer to that request begins, or is not to come.
static __noinline int scrape_ends(struct sock *sk, struct connection *c)
{
	struct process *process;

	if (!sk || !c || !c->scrape)
		return 0;
	c->scrape = false;
	count_down(scrapes);
	process = owner_of(c);
	if (process && process->scrape == (__u64)sk)
		process->scrape = 0;
	return 0;
}

// being_scraped reports whether what the current process asks for is caused by promscope: it has read promscope's request, has
// not begun to answer, and has served nobody else. When promscope gives up, it closes the connection.
static __noinline int being_scraped(void)
{
	struct owner server = current_server();
	struct process *process = bpf_map_lookup_elem(&processes, &server);
	const struct sock *sk;

	if (!process || !process->scrape || process->started || process->unasked || process->foreign)
		return false;
	sk = (void *)process->scrape;
	return BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED;
}

// unnote takes a client's socket out of `observers`.
static __noinline int unnote(struct sock *sk, struct connection *c)
{
	__u64 address = (__u64)sk;
	struct ends *ends;
	__u8 *own;

	if (!sk || !c)
		return 0;
	c->noted = false;
	ends = bpf_map_lookup_elem(&noted_ends, &address);
	if (!ends)
		return 0;
	own = bpf_map_lookup_elem(&observers, ends);
	if (own)
		bpf_map_update_elem(&ended_observers, ends, own, 0);
	bpf_map_delete_elem(&observers, ends);
	bpf_map_delete_elem(&noted_ends, &address);
	return 0;
}

static __noinline int connection_ends(struct sock *sk, struct connection *c)
{
	struct process *process;

	if (!sk || !c)
		return 0;
	scrape_ends(sk, c);
	if (c->noted)
		unnote(sk, c);
	if (c->waiting) {
		process = owner_of(c);
		if (process)
			add(process->unanswered, c->waiting);
	}
	c->leave = true;
	c->waiting = 0;
	return 0;
}

static __noinline int forget(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (sk && !(typed ? bpf_sk_storage_delete(&sockets, sk) : bpf_map_delete_elem(&addresses, &address)))
		count_down(open_connections);
	return 0;
}

// typed_state returns the state in the socket, if it has one. Most sockets have nothing from any BPF program:
// to see that is a load, where the helper is a call.
static __always_inline struct connection *typed_state(struct sock *sk)
{
	return sk->sk_bpf_storage ? bpf_sk_storage_get(&sockets, sk, NULL, 0) : NULL;
}

// raw_state returns the state in the socket, or at its address, where it may be that of the last socket.
static __always_inline struct connection *raw_state(struct sock *sk)
{
	__u64 address = (__u64)sk;

	return typed ? typed_state(sk) : bpf_map_lookup_elem(&addresses, &address);
}

// of_address returns the state at the socket's address. The kernel may have skipped the program at the
// end of the last socket there: what that has left is not this one's.
static __noinline struct connection *of_address(struct sock *sk)
{
	struct connection *c = raw_state(sk);
	__u32 first_seq;

	if (!c)
		return NULL;
	first_seq = first_received(sk);
	if (!c->first_seq)
		c->first_seq = first_seq;
	if (likely(c->first_seq == first_seq))
		return c;
	connection_ends(sk, c);
	forget(sk);
	return NULL;
}

// state returns the socket's state, if it has one.
static __always_inline struct connection *state(struct sock *sk)
{
	return typed ? typed_state(sk) : of_address(sk);
}

// track gives a socket its state.
static __noinline struct connection *track(struct sock *sk)
{
	struct connection *c;

	if (!sk)
		return NULL;
	if (open_connections >= max_connections) {
		count(lost_connections_limit);
		return NULL;
	}
	if (typed) {
		c = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		struct connection fresh = {};
		__u64 address = (__u64)sk;

		bpf_map_update_elem(&addresses, &address, &fresh, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&addresses, &address);
	}
	if (!c) {
		count(lost_connections_memory);
		return NULL;
	}
	c->responses.flags = RESPONSES;
	c->responses.next_seq = field(tcp_sk(sk), write_seq);
	count(open_connections);
	return c;
}

// note has a client's socket in `observers`.
static __noinline int note(struct sock *sk, struct connection *c)
{
	__u64 address = (__u64)sk;
	struct ends ends;
	__u8 own = true;

	if (!sk || !c)
		return 0;
	ends = ends_of(sk, true);
	if (bpf_map_update_elem(&noted_ends, &address, &ends, 0))
		return 0;
	c->noted = true;
	bpf_map_update_elem(&observers, &ends, &own, 0);
	if (field(tcp_sk(sk), bytes_sent))
		count(later_observers);
	return 0;
}

// note_again keeps current whether a socket's last request is caused by promscope.
static __noinline int note_again(struct sock *sk, __u8 own)
{
	__u64 address = (__u64)sk;
	struct ends *ends;

	if (!sk)
		return 0;
	ends = bpf_map_lookup_elem(&noted_ends, &address);
	if (ends)
		bpf_map_update_elem(&observers, ends, &own, 0);
	return 0;
}

// observer gives a socket of promscope its state, and notes its ends.
static __noinline int observer(struct sock *sk)
{
	struct connection *c;

	if (!sk)
		return 0;
	c = track(sk);
	if (!c)
		return 0;
	c->leave = true;
	note(sk, c);
	return 0;
}

// adopt gives a connection its state that was open before the hooks. The socket is not locked.
static __always_inline void adopt(struct sock *sk, bool of_promscope)
{
	struct connection *c;

	if (field(sk, sk_protocol) != IPPROTO_TCP || field(sk, __sk_common.skc_state) == TCP_LISTEN || raw_state(sk))
		return;
	if (!of_promscope && port_excluded(local_port(sk)))
		return;
	c = track(sk);
	if (!c)
		return;
	c->open_before = true;
	c->requests.next_seq = field(tcp_sk(sk), copied_seq);
	if (of_promscope)
		note(sk, c); // up to its first write, which tells whether it asks
}

// ---- requests and responses ----

// observed returns the value of a server's connection in `observers`, if it is one of them. A server that reads a request late
// finds it among those that have ended: then the client has closed this connection. A new one with the same ends is open.
static __always_inline __u8 *observed(const struct sock *sk)
{
	struct ends ends = ends_of(sk, false);
	__u8 *own = bpf_map_lookup_elem(&observers, &ends);

	if (!own && field(sk, __sk_common.skc_state) == TCP_CLOSE_WAIT)
		own = bpf_map_lookup_elem(&ended_observers, &ends);
	return own;
}

// look finds out whether a server's request is promscope's, or caused by it. A connection that is none of `observers` is not
// looked up again before one comes to these that has been in use. Where the other end has closed the connection meanwhile, it is
// taken for what it was.
static __noinline int look(struct sock *sk, struct connection *c)
{
	__u8 *own;

	if (!sk || !c)
		return 0;
	c->looked = later_observers;
	if (own_requests)
		return 0;
	own = observed(sk);
	if (own) {
		c->looked = EACH_REQUEST;
		c->own = *own && !c->waiting;
	}
	return 0;
}

// serves makes the connection one of a server.
static __always_inline void serves(struct sock *sk, struct connection *c)
{
	c->role = SERVER;
	look(sk, c);
}

// serves_foreign notes that the current process serves others by TLS or HTTP/2: what these ask is not seen. A process that has
// counted nothing is given its counters for that; it has no series as long as they are 0.
static __noinline int serves_foreign(struct sock *sk)
{
	struct owner server = current_server();
	struct process *process = bpf_map_lookup_elem(&processes, &server);

	if (!sk || (process && process->foreign) || observed(sk))
		return 0;
	process = counters(&server);
	if (process)
		process->foreign = true;
	return 0;
}

// owner_now returns the counters of the current process, which it makes the connection's owner.
static __always_inline struct process *owner_now(struct connection *c)
{
	__u32 tgid = current_tgid();
	struct process *process = NULL;

	if (likely(c->owner.tgid == tgid))
		process = owner_of(c);
	if (unlikely(!process))
		process = bind(c, tgid);
	return process;
}

// ask takes n requests of the current process, of which `heads` has a bit each.
static __always_inline void ask(struct connection *c, __u32 n, __u64 heads, __u64 first_began, __u64 last_began)
{
	struct process *process = unlikely(c->doubtful) ? NULL : owner_now(c);
	__u32 waiting = c->waiting;

	if (unlikely(c->own)) {
		if (process)
			add(process->own, n);
		return;
	}
	if (waiting + n > 0xffff)
		return;
	if (likely(process))
		add(process->started, n);
	if (likely(!waiting)) {
		c->began = first_began;
		c->heads = 0;
	}
	c->last_began = last_began;
	if (waiting < 64)
		c->heads |= heads << waiting;
	c->waiting = waiting + n;
}

// requests is ask where a call does not matter.
static __noinline int requests(struct connection *c, __u32 n, __u64 heads, __u64 first_began, __u64 last_began)
{
	if (c)
		ask(c, n, heads, first_began, last_began);
	return 0;
}

// own makes the current process the owner of the connection, and of the requests that wait.
static __noinline struct process *own(struct connection *c, __u32 tgid)
{
	struct process *process;

	if (!c)
		return NULL;
	process = bind(c, tgid);
	c->doubtful = false;
	if (process && c->waiting)
		add(process->started, c->waiting);
	return process;
}

// withdraw takes the requests that wait from their owner.
static __noinline int withdraw(struct connection *c)
{
	struct process *process;

	if (!c)
		return 0;
	process = owner_of(c);
	if (process)
		add(process->withdrawn, c->waiting);
	return 0;
}

// lose takes the requests that wait from their owner, whose responses were not seen.
static __noinline int lose(struct connection *c)
{
	if (!c || !c->waiting)
		return 0;
	add(lost_responses, c->waiting);
	withdraw(c);
	c->waiting = 0;
	c->following = false;
	return 0;
}

// take_over moves the requests that wait to the process that reads on: the one before has only peeked.
static __noinline int take_over(struct connection *c, __u32 tgid)
{
	if (!c)
		return 0;
	withdraw(c);
	own(c, tgid);
	return 0;
}

// reads_on notes that more is read while a request waits for its response.
static __always_inline void reads_on(struct connection *c)
{
	__u32 tgid;

	if (c->waiting && !c->doubtful) {
		tgid = current_tgid();
		if (unlikely(c->owner.tgid != tgid))
			take_over(c, tgid);
	}
}

// bucket_of returns the number of bounds below: a binary search over 64 without a branch.
global int bucket_of(__u64 nanoseconds)
{
	__u32 i = 0;

#pragma unroll
	for (__u32 step = BUCKETS_POW2 / 2; step; step /= 2)
		i += bucket_bounds[(i + step - 1) & (BUCKETS_POW2 - 1)] < nanoseconds ? step : 0;
	return i;
}

static __noinline int count_rare(const struct connection *c, __u32 code)
{
	struct rare_code key = {.code = code};
	__u64 one = 1, *responses;

	if (!c)
		return 0;
	key.owner = c->owner;
	responses = bpf_map_lookup_elem(&rare_codes, &key);
	if (!responses) {
		if (!bpf_map_update_elem(&rare_codes, &key, &one, BPF_NOEXIST))
			return 0;
		responses = bpf_map_lookup_elem(&rare_codes, &key);
	}
	if (responses)
		count(*responses);
	else
		count(lost_codes);
	return 0;
}

// unasked takes a response that no request waits for: what it answers was read before the collector, or was not seen, or
// it answers nothing. It is no request: when that began is not known, nor which method it had.
static __noinline int unasked(struct connection *c, __u32 code)
{
	struct process *process;

	if (!c)
		return 0;
	c->answered = true;
	c->doubtful = false;
	c->leave = code == 101;
	process = owner_now(c);
	if (process)
		count(process->unasked);
	return 0;
}

// begun takes a request whose line is not whole as one: it is answered. The rest of its line and head may follow.
static __always_inline bool begun(struct connection *c)
{
	if ((c->requests.stage != METHOD && c->requests.stage != TARGET) || c->requests.flags & (UNSURE | ANSWERED))
		return false;
	c->requests.flags |= ANSWERED;
	requests(c, 1, c->requests.flags & IS_HEAD ? 1 : 0, c->requests.began, c->requests.began);
	return c->waiting;
}

// response counts the answer to the request that has waited the longest. It is final: its code is 101, or 200 and above.
static __always_inline void response(struct connection *c, __u32 code)
{
	struct process *process;
	__u32 bucket, column, waiting;
	__u64 now, took;

	if (unlikely(!c->waiting && !begun(c))) {
		unasked(c, code);
		return;
	}
	waiting = c->waiting - 1;
	c->waiting = waiting;
	c->answered = true;
	c->leave = code == 101 || (c->tunnel && !waiting && code < 300);
	if (unlikely(c->requests.flags & EXPECTS))
		c->requests.flags |= REFUSED;
	process = owner_of(c);
	if (unlikely(!process)) {
		process = own(c, current_tgid());
		if (process)
			count(process->started); // this one
	}
	if (unlikely(!process)) {
		count(lost_requests);
		return;
	}
	column = code - 100 < CODES ? code_columns[code - 100] : 0;
	if (likely(column)) {
		// Clang makes one comparison of two, of column - 1. Kernels before 6.18.16 do not see then that column is bounded.
		asm volatile("" : "+r"(column));
		if (column < CODE_COLUMNS)
			count(process->codes[column]);
	} else {
		count_rare(c, code);
	}
	now = bpf_ktime_get_ns();
	process->last = now;
	took = now - c->began;
	__sync_fetch_and_add(&process->sum, took);
	bucket = likely(took <= bucket_bounds[0]) ? 0 : bucket_of(took);
	if (bucket > BUCKETS)
		bucket = BUCKETS;
	count(process->buckets[bucket]);
	if (unlikely(waiting || c->following)) {
		if (c->following)
			count(process->pipelined);
		c->following = waiting;
		c->heads >>= 1;
		if (waiting == 1)
			c->began = c->last_began;
	}
}

// respond is response where a call does not matter.
static __noinline int respond(struct connection *c, __u32 code)
{
	if (c)
		response(c, code);
	return 0;
}

// not_http takes the first answer to a connection's requests, which is no status line: they were none of HTTP.
static __noinline int not_http(struct connection *c)
{
	// One that was open before may be amid a body.
	if (!c || !c->waiting || c->answered || c->open_before)
		return 0;
	withdraw(c);
	c->waiting = 0;
	c->requests.stage = LOST;
	return 0;
}

// has_sent reports whether a socket without state has sent something: a server reads a request before, and a client's first
// write was looked at.
static __always_inline bool has_sent(const struct sock *sk)
{
	return adopted && field(tcp_sk(sk), bytes_sent);
}

// What a connection reads is looked at again while it has received no more segments than the first, and then with two of as
// many: with one, a reader who waits for the next would not be seen to read it.
#define SEGMENTS_LOOKED_AT 64

// looks_again reports whether a socket without state, which has carried what is no HTTP, may read a request now.
static __always_inline bool looks_again(const struct sock *sk)
{
	__u32 segments = field(tcp_sk(sk), data_segs_in);

	return segments < SEGMENTS_LOOKED_AT || segments % SEGMENTS_LOOKED_AT < 2;
}

// of_no_interest reports whether nothing that a socket without state reads can begin an exchange that counts.
static __always_inline bool of_no_interest(const struct sock *sk)
{
	return field(sk, sk_protocol) != IPPROTO_TCP || (has_sent(sk) && likely(!looks_again(sk))) || port_excluded(local_port(sk));
}
