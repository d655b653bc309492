package engine

// limited says whether the container needs a cgroup for what was asked for.
func (r *run) limited() bool {
	l := r.result.Spec.Linux
	return l.Resources != nil || l.CgroupsPath != ""
}
