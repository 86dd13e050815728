package mapping

// The labels that promscope puts on the series of a target on this machine: they tell
// of the process that answers. docs/attribution.md describes them. Series of others
// than that process have none.
const (
	LabelPID        = "target_pid"
	LabelSubjectPID = "target_subject_pid"
	LabelContainer  = "target_container_id"
	LabelPod        = "target_pod_uid"
	// LabelHost is there, as ThisHost, if the target speaks of this host.
	LabelHost = "target_host"
	ThisHost  = "this"
)

// UnknownPID stands behind the value of a label whose pid is that of no process on this
// machine: the number in the value would be another process's.
const UnknownPID = "@unknown"

// TargetLabels returns the names of the labels that promscope puts on the series of a
// target, LabelPID first.
func TargetLabels() []string {
	return []string{LabelPID, LabelSubjectPID, LabelContainer, LabelPod, LabelHost}
}

// AssumeHost adds target_host="this" to the labels of a target that somebody wrote down,
// if they are those of a target on this machine, outside of containers, and do not
// mention the label.
func AssumeHost(target map[string]string) {
	_, host := target[LabelHost]
	if target[LabelPID] != "" && target[LabelContainer] == "" && !host {
		target[LabelHost] = ThisHost
	}
}
