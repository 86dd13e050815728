// Package host knows the machine that promscope runs on: its processes and
// whether they live, which container and pod a process belongs to, by which pid each
// pid namespace knows it, and what the machine is called. Package socket stands on it.
//
// Everything is read below /proc. In tests a tree of files can stand for that. /proc does
// not tell of exits and does not enter namespaces: the kernel does that, where the rights
// allow it. A container can have the host's /proc mounted on its own: the procfs of another
// pid namespace than that of its processes. The kernel then takes other pids than /proc has.
//
// Process ids are those of /proc, in the text and in the API.
package host
