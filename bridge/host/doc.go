// Package host knows the machine that promscope runs on: its processes and
// whether they live, who owns a socket, which container and pod a process
// belongs to, which network namespaces there are, and what the machine is
// called.
//
// Everything is read below the roots in Options, so that a tree of files can
// stand for a machine, or the host's /proc, mounted elsewhere, for that of a
// container. What /proc cannot answer (exit notification, a dump of the
// listening sockets alone, entering a namespace) is asked of the kernel where
// the root is this process's own /proc, and is done without where it is not or
// where the right to do so is missing.
//
// Process ids are those of the root, in the text and in the API.
package host
