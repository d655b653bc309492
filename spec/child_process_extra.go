package spec

// ProcessExtra is the part of Extra that concerns only the process.
type ProcessExtra struct {
	// ID names the session keyring; "" gives it none.
	ID string
	// NoNewKeyring leaves the caller's session keyring in place.
	NoNewKeyring bool
	// LSM says which security modules can be asked for a label; nil: as the
	// host has them.
	LSM *LSM
}
