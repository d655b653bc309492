package quiet

const (
	sysSchedSetscheduler = 119
	sysTgkill            = 131
	sysGetpid            = 172
)
