// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
//
// Which processes a signal ends, and which of them because there is no memory.
//
// One program runs when a thread ends. The last one of a process knows how the process ends: what wait(2) will tell the
// parent (the kernel's wait_task_zombie). The OOM killer has left a mark in what it kills (mark_oom_victim). It
// sends the signal first. Since 6.16 the program runs so early that a process on another CPU could be there before
// the mark, if the host took this CPU away between the two: then it is one that was killed, and no more.

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct mm_struct {
};

struct signal_struct {
	atomic_t live; // threads
	int group_exit_code;
	unsigned int flags;
	struct mm_struct *oom_mm; // of a process that the OOM killer has chosen
};

struct kernfs_node {
	const char *name;
	struct kernfs_node *__parent;
};

struct kernfs_node___parent { // until 6.14
	struct kernfs_node *parent;
};

struct cgroup_root {
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root; // of the hierarchy
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[1]; // by enum cgroup_subsys_id
	struct cgroup *dfl_cgrp;	       // of version 2
};

enum cgroup_subsys_id {
	memory_cgrp_id,
};

struct task_struct {
	unsigned int flags;
	int tgid;
	int exit_code;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct css_set *cgroups;
	char comm[16];
	__u64 start_time; // nanoseconds of the monotonic clock
};

#pragma clang attribute pop

#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004
#define SIGKILL 9
#define SIGNAL_MASK 0x7f // of a status: the rest is the core dump, or what the process returned

__u64 ends[SIGNAL_MASK + 1]; // of processes, by signal
__u64 oom_kills;
__u64 lost; // processes of which it is not known where they were

// owner names a process.
struct owner {
	__u64 start_time;
	__u64 tgid;
};

// Two threads that end together may both find that none is left. The first counts.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct owner);
	__type(value, __u8);
} counted SEC(".maps");

#define LEVELS 12
#define NAME_SIZE 256 // of a directory, with the zero
#define PATH_SIZE 512

// victim is a process that a signal has ended.
struct victim {
	__u32 tgid;
	__u32 signal;
	__u32 oom;
	__u32 length; // of the path
	char comm[16];
	char path[PATH_SIZE + NAME_SIZE]; // the names of its cgroup and those above, each with a zero; not that of the root
};

// User space takes them out once an interval.
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 512);
	__type(value, struct victim);
} victims SEC(".maps");

// A victim is too large for the stack.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct victim);
} scratch SEC(".maps");

static __always_inline struct kernfs_node *above(struct kernfs_node *node)
{
	if (bpf_core_field_exists(struct kernfs_node, __parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ((struct kernfs_node___parent *)node, parent);
}

// cgroup_of returns the directory of the task's cgroup of the memory controller where that is of version 1, and else of
// version 2. On a host with both, a container can be in one of its own with version 1 only. A root says nothing.
static __always_inline struct kernfs_node *cgroup_of(struct task_struct *task)
{
	struct cgroup *unified = BPF_CORE_READ(task, cgroups, dfl_cgrp), *memory;
	struct cgroup_subsys_state **subsystems = BPF_CORE_READ(task, cgroups)->subsys, *state = NULL;
	struct kernfs_node *node = BPF_CORE_READ(unified, kn), *of_memory;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return node;
	bpf_probe_read_kernel(&state, sizeof(state), subsystems + bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	memory = BPF_CORE_READ(state, cgroup);
	of_memory = BPF_CORE_READ(memory, kn);
	if (BPF_CORE_READ(memory, root) != BPF_CORE_READ(unified, root) && above(of_memory))
		return of_memory;
	return node;
}

// read_path reads where a directory is. It returns false if that is too deep or too long.
static __always_inline bool read_path(struct victim *v, struct kernfs_node *node)
{
	__u32 at = 0;

	for (int i = 0; i < LEVELS; i++) {
		struct kernfs_node *parent = above(node);
		long n;

		v->length = at;
		if (!parent)
			return true;
		if (at >= PATH_SIZE)
			return false;
		n = bpf_probe_read_kernel_str(v->path + at, NAME_SIZE, BPF_CORE_READ(node, name));
		if (n <= 0 || n > NAME_SIZE)
			return false;
		at += n;
		node = parent;
	}
	return false;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct task_struct *leader = task->group_leader;
	struct owner owner = {};
	struct victim *v;
	__u32 status, zero = 0;
	__u8 here = 1;
	bool oom;

	if (signal->live.counter || task->flags & PF_KTHREAD)
		return 0;
	status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->exit_code;
	status &= SIGNAL_MASK;
	if (!status)
		return 0;
	owner.start_time = leader->start_time;
	owner.tgid = task->tgid;
	if (bpf_map_update_elem(&counted, &owner, &here, BPF_NOEXIST)) // not the first, or amid the first
		return 0;
	count(ends[status]);
	oom = status == SIGKILL && signal->oom_mm;
	if (oom)
		count(oom_kills);

	v = bpf_map_lookup_elem(&scratch, &zero);
	if (!v)
		return 0;
	v->tgid = task->tgid;
	v->signal = status;
	v->oom = oom;
	bpf_probe_read_kernel(v->comm, sizeof(v->comm), &leader->comm);
	if (!read_path(v, cgroup_of(task)) || bpf_map_push_elem(&victims, v, 0))
		count(lost);
	return 0;
}
