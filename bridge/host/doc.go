// Package host knows the machine that promscope runs on: its processes and
// whether they live, which container and pod a process belongs to, by which pid each
// pid namespace knows it, and what the machine is called. Package socket stands on it.
//
// Everything is read below the root in Options. So a tree of files can stand for a
// machine, and the host's /proc can be mounted elsewhere in a container. /proc does not
// tell of exits and does not enter namespaces: the kernel does that, where the root is
// this process's own /proc and the rights allow it.
//
// Process ids are those of the root, in the text and in the API.
package host
