// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// How long the requests of each disk take, and what each process reads from and writes to storage.
//
// The kernel notes of each request when it began, and of each thread how many bytes it has read and written. So one program
// runs when a request ends, one when a process ends, and one reads what the kernel has of all threads, when it is asked to.
// Who makes a request is noted nowhere: one more program runs then.

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk; // since 5.15
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len; // bytes that are still to be done
	__u64 start_time_ns;	 // of the monotonic clock; 0 if the queue keeps no statistics
};

struct bvec_iter {
	unsigned int bi_size; // bytes
};

struct bio {
	unsigned int bi_opf;
	struct bvec_iter bi_iter;
};

struct request___rq_disk { // until 5.16
	struct gendisk *rq_disk;
};

struct task_io_accounting {
	__u64 read_bytes;
	__u64 write_bytes;
};

typedef struct {
	int counter;
} atomic_t;

// What the threads that are gone have read and written is in inblock and oublock. It is in ioac too, but there the kernel
// adds what each child has done that the process has waited for (wait_task_zombie).
struct signal_struct {
	atomic_t live;
	unsigned long inblock; // BLOCKs
	unsigned long oublock;
};

struct task_struct {
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	char comm[16];
	unsigned int flags;
	__u64 start_time; // nanoseconds of the monotonic clock
	struct task_io_accounting ioac;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#define BLOCK 512 // bytes

// ---- devices ----

// The kernel's enum req_op. Later ones are of zones, or no I/O.
enum {
	OP_READ = 0,
	OP_WRITE = 1,
	OP_FLUSH = 2,
	OP_DISCARD = 3,
	OP_WRITE_ZEROES = 9,
	OP_MASK = 0xff,
};

#define BUCKETS 31
#define BUCKETS_POW2 32

volatile const __u64 bucket_bounds[BUCKETS_POW2]; // nanoseconds, ascending, filled up with the maximum

struct request_key {
	__u32 major;
	__u32 minor;
	__u32 operation;
};

struct latency {
	__u64 sum; // nanoseconds
	__u64 buckets[BUCKETS + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct request_key);
	__type(value, struct latency);
} requests SEC(".maps");

const struct latency no_latency;

__u64 lost_requests; // no room in the map

static __always_inline struct gendisk *disk_of(struct request *rq)
{
	if (bpf_core_field_exists(struct request_queue, disk))
		return rq->q->disk;
	return ((struct request___rq_disk *)rq)->rq_disk;
}

// bucket_of returns the number of bounds below: a binary search over 32.
static __always_inline __u32 bucket_of(__u64 nanoseconds)
{
	__u32 i = 0;

#pragma unroll
	for (__u32 step = BUCKETS_POW2 / 2; step; step /= 2)
		i += bucket_bounds[(i + step - 1) & (BUCKETS_POW2 - 1)] < nanoseconds ? step : 0;
	return i;
}

// on_complete runs when bytes of a request are done: all that are left, or some.
SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *rq, int error, unsigned int bytes)
{
	struct request_key key = {};
	struct latency *latency;
	struct gendisk *disk;
	__u64 began, took;
	__u32 bucket;

	key.operation = rq->cmd_flags & OP_MASK;
	if (key.operation == OP_WRITE_ZEROES)
		key.operation = OP_WRITE;
	if (key.operation > OP_DISCARD)
		return 0;
	// The end of a sequence of flushes ends a write once more, with nothing left of it.
	if (bytes < rq->__data_len || (!bytes && key.operation != OP_FLUSH))
		return 0;
	began = rq->start_time_ns;
	disk = disk_of(rq);
	key.major = disk->major;
	key.minor = disk->first_minor;
	if (!began || !key.major)
		return 0;
	took = bpf_ktime_get_ns() - began;
	if ((__s64)took < 0)
		took = 0;

	latency = bpf_map_lookup_elem(&requests, &key);
	if (!latency) {
		bpf_map_update_elem(&requests, &key, &no_latency, BPF_NOEXIST);
		latency = bpf_map_lookup_elem(&requests, &key);
		if (!latency) {
			count(lost_requests);
			return 0;
		}
	}
	bucket = bucket_of(took);
	if (bucket > BUCKETS)
		bucket = BUCKETS;
	add(latency->sum, took);
	count(latency->buckets[bucket]);
	return 0;
}

// ---- processes ----

// usage is what a thread, or a process, has read and written.
struct usage {
	__u64 start_time; // of the process
	__u32 tgid;
	char comm[16]; // of the process
	__u32 padding;
	__u64 read;    // bytes
	__u64 written; // bytes
	__u64 reads;   // requests
	__u64 writes;  // requests
};

struct process_key {
	__u64 start_time;
	__u64 tgid;
};

// ended is what the threads of a process have done that have ended: what each has added to done at its end, and what
// the kernel had of all when there were no more. Either may fall short: the kernel's of threads that end together and by
// the bytes that are no block, and the sum where the program was not run for a thread.
struct ended {
	struct usage done;
	__u64 read;    // bytes, by the kernel
	__u64 written; // bytes, by the kernel
	__u64 over;    // there are no more
};

// User space deletes the entries of processes that are over.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct process_key);
	__type(value, struct ended);
} ended SEC(".maps");

__u64 lost_ends; // no room in the map

static __always_inline void identify(struct usage *u, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	u->tgid = task->tgid;
	u->start_time = leader->start_time;
	bpf_probe_read_kernel(u->comm, sizeof(u->comm), &leader->comm);
}

// requested is how many requests a process has made.
struct requested {
	__u64 reads;
	__u64 writes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process_key);
	__type(value, struct requested);
} requesters SEC(".maps");

const struct requested nothing_requested;

__u64 lost_requesters; // requests for whose process there is no room in the map

#define PF_EXITING 0x4

// Which argument of block_getrq the bio is. Set by the loader.
volatile const __u32 getrq_bio;

// on_request runs when a bio is given a request: not when it goes into the request of another.
SEC("tp_btf/block_getrq")
int on_request(__u64 *ctx)
{
	struct bio *bio = (void *)either(getrq_bio, ctx[1], ctx[0]);
	struct task_struct *task = (void *)bpf_get_current_task(); // kernels before 5.11 have it without its type only
	__u32 operation = bio->bi_opf & OP_MASK;
	struct process_key key = {};
	struct requested *r;

	// Without bytes it has a device flush its cache. Who exits would leave an entry behind.
	if (operation > OP_WRITE || !bio->bi_iter.bi_size || BPF_CORE_READ(task, flags) & PF_EXITING)
		return 0;
	key.start_time = BPF_CORE_READ(task, group_leader, start_time);
	key.tgid = BPF_CORE_READ(task, tgid);
	r = bpf_map_lookup_elem(&requesters, &key);
	if (!r) {
		bpf_map_update_elem(&requesters, &key, &nothing_requested, BPF_NOEXIST);
		r = bpf_map_lookup_elem(&requesters, &key);
		if (!r) {
			count(lost_requesters);
			return 0;
		}
	}
	if (operation == OP_READ)
		count(r->reads);
	else
		count(r->writes);
	return 0;
}

// add_requested adds the requests of a process.
static __always_inline void add_requested(struct usage *u, const struct process_key *key)
{
	struct requested *r = bpf_map_lookup_elem(&requesters, key);

	if (r) {
		u->reads = r->reads;
		u->writes = r->writes;
	}
}

// ended_of returns what the ended threads of a process have done. The first one that has done something makes the entry.
// Those that are gone by then have ended before the programs.
static __always_inline struct ended *ended_of(struct task_struct *task, const struct process_key *key)
{
	struct ended *e = bpf_map_lookup_elem(&ended, key);
	struct ended before = {};

	if (!e) {
		identify(&before.done, task);
		before.done.read = task->signal->inblock * BLOCK;
		before.done.written = task->signal->oublock * BLOCK;
		bpf_map_update_elem(&ended, key, &before, BPF_NOEXIST);
		e = bpf_map_lookup_elem(&ended, key);
	}
	if (!e)
		count(lost_ends);
	return e;
}

// ends runs when no thread of the process is left. Of threads that end together each may find that.
static __always_inline void ends(struct task_struct *task, const struct process_key *key)
{
	struct task_struct *leader = task->group_leader;
	struct requested *r = bpf_map_lookup_elem(&requesters, key);
	__u64 read = task->signal->inblock * BLOCK + task->ioac.read_bytes;
	__u64 written = task->signal->oublock * BLOCK + task->ioac.write_bytes;
	struct ended *e;

	if (leader->pid != task->pid) { // it has ended before, and what it did is not in the sum yet
		read += leader->ioac.read_bytes;
		written += leader->ioac.write_bytes;
	}
	if (!read && !written && !r && !bpf_map_lookup_elem(&ended, key))
		return;
	e = ended_of(task, key);
	if (e) {
		identify(&e->done, task); // it may be called otherwise by now
		e->read = read;
		e->written = written;
		e->over = true;
		if (r) {
			e->done.reads = r->reads;
			e->done.writes = r->writes;
		}
	}
	if (r)
		bpf_map_delete_elem(&requesters, key);
}

// on_exit runs when a thread ends.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct process_key key = {.start_time = task->group_leader->start_time, .tgid = task->tgid};
	__u64 read = task->ioac.read_bytes, written = task->ioac.write_bytes;

	if (read || written) {
		struct ended *e = ended_of(task, &key);

		if (e) {
			add(e->done.read, read);
			add(e->done.written, written);
		}
	}
	// In this order: where this program can be preempted, it is not run for those that end meanwhile.
	if (!task->signal->live.counter)
		ends(task, &key);
	return 0;
}

// read_tasks writes the usage of each thread that has one. What the ended threads of a process have done comes with its
// first thread, as do the process's requests.
SEC("iter/task")
int read_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_key key = {};
	struct usage u = {};

	if (!task || !task->signal->live.counter) // it has ended, and only its parent has not noticed
		return 0;
	u.read = task->ioac.read_bytes;
	u.written = task->ioac.write_bytes;
	if (task->pid == task->tgid) {
		u.read += task->signal->inblock * BLOCK;
		u.written += task->signal->oublock * BLOCK;
		key.start_time = task->start_time;
		key.tgid = task->tgid;
		add_requested(&u, &key);
	}
	if (!u.read && !u.written && !u.reads && !u.writes)
		return 0;
	identify(&u, task);
	bpf_seq_write(ctx->meta->seq, &u, sizeof(u));
	return 0;
}
