package cli

import "coracle/spec"

// cgroupFlags are the limits that can be changed while a container runs. They
// are handed on as they were typed: run, create and update read them alike.
type cgroupFlags struct {
	Memory            string   `short:"m" placeholder:"BYTES" help:"Most memory: 512m, 2g. -1 is no limit."`
	MemoryReservation string   `name:"memory-reservation" placeholder:"BYTES" help:"Memory that is kept for it when others want it."`
	MemorySwap        string   `name:"memory-swap" placeholder:"BYTES" help:"Most memory and swap together (default: twice --memory)."`
	MemoryHigh        string   `name:"memory-high" placeholder:"BYTES" help:"Memory from which on it is slowed down."`
	CPUs              string   `name:"cpus" placeholder:"N" help:"Most processors: 0.5, 2."`
	CPUShares         string   `name:"cpu-shares" short:"c" placeholder:"N" help:"Its weight among others, of 1024."`
	CPUPeriod         string   `name:"cpu-period" placeholder:"USEC" help:"Period of --cpu-quota, in microseconds."`
	CPUQuota          string   `name:"cpu-quota" placeholder:"USEC" help:"Processor time in each period; -1 is no limit."`
	CPUSetCPUs        string   `name:"cpuset-cpus" placeholder:"LIST" help:"Processors to use: 0-3,7."`
	CPUSetMems        string   `name:"cpuset-mems" placeholder:"LIST" help:"Memory nodes to use."`
	PidsLimit         string   `name:"pids-limit" placeholder:"N" help:"Most processes and threads (default: 2048); -1 is no limit."`
	BlkioWeight       string   `name:"blkio-weight" placeholder:"N" help:"Its weight at disks, 10 to 1000."`
	BlkioWeightDevice []string `name:"blkio-weight-device" sep:"none" placeholder:"PATH:N" help:"Its weight at one disk."`
	DeviceReadBps     []string `name:"device-read-bps" sep:"none" placeholder:"PATH:BYTES" help:"Most bytes a second from a disk."`
	DeviceWriteBps    []string `name:"device-write-bps" sep:"none" placeholder:"PATH:BYTES" help:"Most bytes a second to a disk."`
	DeviceReadIOPS    []string `name:"device-read-iops" sep:"none" placeholder:"PATH:N" help:"Most reads a second from a disk."`
	DeviceWriteIOPS   []string `name:"device-write-iops" sep:"none" placeholder:"PATH:N" help:"Most writes a second to a disk."`
}

func (f cgroupFlags) limits() spec.Limits {
	return spec.Limits{
		Memory: f.Memory, MemoryReservation: f.MemoryReservation, MemorySwap: f.MemorySwap, MemoryHigh: f.MemoryHigh,
		CPUs: f.CPUs, CPUShares: f.CPUShares, CPUPeriod: f.CPUPeriod, CPUQuota: f.CPUQuota,
		CPUSetCPUs: f.CPUSetCPUs, CPUSetMems: f.CPUSetMems, PidsLimit: f.PidsLimit,
		BlkioWeight: f.BlkioWeight, BlkioWeightDevice: f.BlkioWeightDevice,
		DeviceReadBps: f.DeviceReadBps, DeviceWriteBps: f.DeviceWriteBps, DeviceReadIOPS: f.DeviceReadIOPS, DeviceWriteIOPS: f.DeviceWriteIOPS,
	}
}

func (f limitFlags) fill(o *spec.Options) {
	o.Limits = f.limits()
	o.Limits.CgroupConf = f.CgroupConf
	o.Ulimits = f.Ulimit
	o.OOMScoreAdj = f.OOMScoreAdj
	o.Cgroups = f.Cgroups
	o.Cgroupns = f.Cgroupns
	o.CgroupParent = f.CgroupParent
}
