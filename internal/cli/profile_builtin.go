package cli

// builtin is a profile that comes with the program.
type builtin struct{ name, text string }

// smallRoot are programs and libraries, and of /etc what these need to find them.
const smallRoot = `root = "none"
ro-try = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/ssl", "/etc/passwd", "/etc/group"]
`

// builtinProfiles are in the order of `coracle profile ls`.
func builtinProfiles() []builtin {
	return []builtin{
		{"default", `description = "what holds without a profile"
`},
		{"strict", `description = "programs and the current directory, read-only, and nothing else of the host's"
` + smallRoot + `cwd = "ro"
home = "empty"
network = "none"
loopback = "deny"
pids = 256
max-files = 1024
on-exit = "discard"
`},
		{"build", `description = "compilers and make: writes to the current directory, no network"
cwd = "rw"
network = "none"
pids = 4096
env-pass = ["CC", "CXX", "CPP", "AR", "LD", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "PKG_CONFIG_PATH", "SOURCE_DATE_EPOCH"]
`},
		{"agent", `description = "a program that edits a project on its own: changes are kept for review, no network but what --allow-net names"
cwd = "overlay"
home = "empty"
pids = 1024
max-file-size = "1g"
on-exit = "keep"
`},
		{"judge", `description = "one short program that nobody trusts: little time, memory and output, all in memory"
` + smallRoot + `cwd = "ro"
home = "empty"
network = "none"
timeout = 30
cpu-time = 10
memory = "256m"
pids = 64
max-files = 64
max-file-size = "16m"
disk = "64m"
inodes = 4096
on-exit = "discard"
`},
		{"hpc", `description = "a solver on a cluster: the network, GPUs, fabrics and scheduler's variables are the host's, the home is read-only without credentials"
cwd = "rw"
home = "real"
network = "host"
pids = 32768
ro-try = ["/sys/devices/system/node"]
rw-try = ["/scratch", "/dev/dri", "/dev/kfd", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/nvidia-caps",
  "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2", "/dev/nvidia3", "/dev/nvidia4", "/dev/nvidia5", "/dev/nvidia6", "/dev/nvidia7",
  "/dev/infiniband", "/dev/cxi0", "/dev/cxi1", "/dev/cxi2", "/dev/cxi3", "/dev/hfi1_0", "/dev/knem", "/dev/xpmem"]
env-pass = ["SLURM_*", "PMI*", "PMIX_*", "OMPI_*", "MPI*", "OMP_*", "KMP_*", "MKL_*", "CUDA_*", "ROCR_*", "TMPDIR"]
`},
	}
}
