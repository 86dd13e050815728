package socket

import (
	"strings"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/bridge/host"
)

// unixAccepts is the flag __SO_ACCEPTCON of a listening socket in the table
// (include/uapi/linux/net.h).
const unixAccepts = 1 << 16

// listUnix returns the listening unix stream sockets that are bound to a file,
// from /proc/PID/net/unix of the first of the processes that still lives. A path
// is as it was bound, in the owner's file system.
func listUnix(m *host.Machine, pids []int) []socket {
	for _, pid := range pids {
		fs, err := procfs.NewFS(m.Path(pid, ""))
		if err != nil {
			continue
		}
		table, err := fs.NetUNIX()
		if err != nil {
			continue
		}
		var sockets []socket
		for _, row := range table.Rows {
			if row.Flags&unixAccepts != 0 && row.Type.String() == "stream" && strings.HasPrefix(row.Path, "/") {
				sockets = append(sockets, socket{path: row.Path, inode: row.Inode})
			}
		}
		return sockets
	}
	return nil
}
