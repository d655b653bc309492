package spec

// What the flags understand, for completion.

// CapabilityNames are all capabilities that we know, with CAP_.
func CapabilityNames() []string { return capabilityNames() }

// SignalNames are the signals by number, from 1, without SIG.
func SignalNames() []string { return signalNames() }

// UlimitNames are the limits of getrlimit(2), in small letters.
func UlimitNames() []string { return ulimitNames() }

// SecurityOptions are the words of --security-opt; those with a value end in =.
func SecurityOptions() []string { return securityKeys() }
