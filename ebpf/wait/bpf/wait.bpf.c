// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// How long threads wait for a CPU, and for I/O.
//
// The kernel itself adds up how long each thread has waited for a CPU: sched_info.run_delay, the second
// figure of /proc/PID/schedstat. An iterator reads that when it is asked for. One program runs at each
// switch of a CPU to another thread. It adds the wait that ends there to a histogram. And it times the
// waits for I/O, by the same clock: from the switch away from a thread that is in_iowait to its wake-up,
// as the kernel's delay accounting does (delayacct_blkio_start, delayacct_blkio_end).
//
// The clock is that of the run queues, rq->clock, by which the kernel sets the times in sched_info. It
// has just read it when it switches.

#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct rq {
	__u64 clock; // nanoseconds
};

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq; // of the CPU that the thread is on, whatever its class
};

struct sched_info {
	unsigned long long run_delay;   // nanoseconds for which it has waited for a CPU, without the wait that lasts
	unsigned long long last_queued; // since when it waits; 0 if it does not
};

struct task_struct___wait {
	int pid;
	int tgid;
	struct task_struct___wait *group_leader;
	struct signal_struct *signal;
	struct sched_entity se;
	struct sched_info sched_info;
	unsigned in_iowait : 1;
	unsigned int flags;
	unsigned int __state;
	void *stack; // in the kernel
	char comm[16];
	__u64 start_time;
};

struct task_struct___state { // until 5.13
	long state;
};

struct seq_file {
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct___wait *task;
};

#pragma clang attribute pop

#define PF_EXITING 0x00000004

// owner names a process.
struct owner {
	__u64 start_time; // of its first thread: monotonic clock, nanoseconds
	__u32 tgid;
	__u32 unused;
};

// ended is what can no longer be read of a process's threads, in nanoseconds.
struct ended {
	__u64 io;  // waits for I/O that are over
	__u64 cpu; // waits for a CPU of threads that have exited
};

// Nearly each process has an entry: it has waited for its own pages.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct owner);
	__type(value, struct ended);
} processes SEC(".maps");

// begin is where a wait for I/O began.
struct begin {
	__u64 clock;
	__u64 run_delay;
};

// waiting has the threads that wait for I/O. Both maps are allocated at once: a program that runs inside of the scheduler
// must not allocate.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct begin);
} waiting SEC(".maps");

// The histogram's buckets: four to an octave, from 2^FIRST to 2^LAST nanoseconds, and one on either side.
#define FIRST 14
#define LAST 32
#define BUCKETS ((LAST - FIRST) * 4 + 2)

struct latency {
	__u64 sum; // nanoseconds
	__u64 buckets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct latency);
} latencies SEC(".maps");

__u64 lost; // waits, or starts of waits for I/O, that there was no room for

// How long each thread had waited when it last got a CPU. A wait in the queues of several CPUs is in run_delay in pieces:
// the difference is all of it. Threads whose ids have the same last bits share a place. The check tells whose it is, and
// that two CPUs have not written half of it each. A thread that executes a program takes over the id and the start of the
// first one (de_thread), but keeps its own stack.
#define PLACES 16384
struct {
	__u64 check;
	__u64 total;
} waited[PLACES];

static __always_inline __u64 clock_of(const struct task_struct___wait *task)
{
	return task->se.cfs_rq->rq->clock;
}

static __always_inline bool is_running(const struct task_struct___wait *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state == 0;
	return ((const struct task_struct___state *)task)->state == 0;
}

static __always_inline struct owner owner_of(const struct task_struct___wait *task)
{
	struct owner o = {.start_time = task->group_leader->start_time, .tgid = task->tgid};

	return o;
}

static __always_inline struct ended *ended_of(const struct task_struct___wait *task)
{
	struct owner o = owner_of(task);
	struct ended none = {};
	struct ended *e = bpf_map_lookup_elem(&processes, &o);

	if (e)
		return e;
	bpf_map_update_elem(&processes, &o, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&processes, &o);
}

// bucket returns the place of a wait in the histogram.
static __always_inline __u32 bucket(__u64 ns)
{
	__u32 log = 0, v;

	if (ns < 1ULL << FIRST)
		return 0;
	if (ns >= 1ULL << LAST)
		return BUCKETS - 1;
	v = ns;
	if (v >> 16) {
		v >>= 16;
		log += 16;
	}
	if (v >> 8) {
		v >>= 8;
		log += 8;
	}
	if (v >> 4) {
		v >>= 4;
		log += 4;
	}
	if (v >> 2) {
		v >>= 2;
		log += 2;
	}
	log += v >> 1;
	return 1 + (log - FIRST) * 4 + (((__u32)ns >> (log - 2)) & 3);
}

// got_cpu counts a wait for a CPU that is over, whose last piece began when the thread was queued.
static __always_inline void got_cpu(const struct task_struct___wait *task, __u64 queued, __u64 now)
{
	__u64 piece = now > queued ? now - queued : 0;
	__u64 total = task->sched_info.run_delay + piece;
	__u32 tid = task->pid, zero = 0, at;
	__u64 key = task->start_time + (__u64)task->stack, before, wait = piece;
	struct latency *l = bpf_map_lookup_elem(&latencies, &zero);

	if (!l)
		return;
	at = tid & (PLACES - 1);
	before = waited[at].total;
	if ((waited[at].check ^ before) == key && before <= total && total - before > piece)
		wait = total - before;
	waited[at].total = total;
	waited[at].check = key ^ total;

	at = bucket(wait);
	barrier_var(at);
	if (at >= BUCKETS)
		return;
	l->buckets[at]++;
	l->sum += wait;
}

// got_io counts a wait for I/O that is over: it ended when the thread was queued for a CPU, be it in several pieces.
static __always_inline void got_io(const struct task_struct___wait *task, __u64 queued)
{
	__u32 tid = task->pid;
	struct begin *b = bpf_map_lookup_elem(&waiting, &tid);
	struct ended *e;
	__s64 wait;

	if (!b)
		return;
	wait = queued - b->clock - (task->sched_info.run_delay - b->run_delay);
	bpf_map_delete_elem(&waiting, &tid);
	// Who exits would leave an entry behind: it closes its files after on_exit.
	if (wait <= 0 || task->flags & PF_EXITING)
		return;
	e = ended_of(task);
	if (e)
		add(e->io, wait);
	else
		count(lost);
}

// on_switch runs when a CPU goes from one thread to another.
SEC("tp_btf/sched_switch")
int on_switch(__u64 *ctx)
{
	const bool preempted = ctx[0];
	const struct task_struct___wait *prev = (void *)ctx[1];
	const struct task_struct___wait *next = (void *)ctx[2];
	__u64 now = clock_of(next), queued = next->sched_info.last_queued;
	__u32 tid;

	if (BPF_CORE_READ_BITFIELD(prev, in_iowait) && !preempted && !is_running(prev)) {
		struct begin b = {.clock = now, .run_delay = prev->sched_info.run_delay};

		tid = prev->pid;
		if (bpf_map_update_elem(&waiting, &tid, &b, 0))
			count(lost);
	}
	if (!next->pid || !queued) // the CPU is idle
		return 0;
	got_cpu(next, queued, now);
	if (BPF_CORE_READ_BITFIELD(next, in_iowait))
		got_io(next, queued);
	return 0;
}

// on_exit keeps what a thread has waited: its process may live on. With the last thread, all of it goes.
SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	const struct task_struct___wait *task = (void *)ctx[0];
	__u32 tid = task->pid;
	struct ended *e;

	bpf_map_delete_elem(&waiting, &tid);
	if (task->sched_info.run_delay && task->signal->live.counter) {
		e = ended_of(task);
		if (e)
			add(e->cpu, task->sched_info.run_delay);
		else
			count(lost);
	}
	// In this order: the last thread may have come by meanwhile, and found no entry.
	if (!task->signal->live.counter) {
		struct owner o = owner_of(task);

		bpf_map_delete_elem(&processes, &o);
	}
	return 0;
}

// thread is what the iterator writes of each thread.
struct thread {
	struct owner owner;
	__u64 cpu; // nanoseconds that it has waited for a CPU, with the wait that lasts
	__u64 io;  // nanoseconds of the wait for I/O that lasts
	char comm[16];
};

SEC("iter/task")
int each_thread(struct bpf_iter__task *ctx)
{
	const struct task_struct___wait *task = ctx->task;
	const struct task_struct___wait *self = (void *)bpf_get_current_task();
	struct thread t = {};
	__u64 now, queued;
	__u32 tid;

	if (!task || !self)
		return 0;
	tid = task->pid;
	t.owner = owner_of(task);
	bpf_probe_read_kernel_str(t.comm, sizeof(t.comm), task->group_leader->comm);
	if (task->flags & PF_EXITING) {
		// What it has waited, on_exit has, or will. The first thread stands for its process nevertheless.
		if (task->pid == task->tgid)
			bpf_seq_write(ctx->meta->seq, &t, sizeof(t));
		return 0;
	}
	now = BPF_CORE_READ(self, se.cfs_rq, rq, clock);
	// In this order: a wait that ends meanwhile is then missed, until the next time, and never there twice.
	t.cpu = *(volatile const unsigned long long *)&task->sched_info.run_delay;
	queued = *(volatile const unsigned long long *)&task->sched_info.last_queued;
	if (queued && now > queued)
		t.cpu += now - queued;
	if (BPF_CORE_READ_BITFIELD(task, in_iowait)) {
		struct begin *b = bpf_map_lookup_elem(&waiting, &tid);

		if (b) {
			__s64 wait = now - b->clock - (t.cpu - b->run_delay);

			if (wait > 0)
				t.io = wait;
		}
	}
	bpf_seq_write(ctx->meta->seq, &t, sizeof(t));
	return 0;
}
