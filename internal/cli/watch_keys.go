package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// keyboard gives the keys as they are typed. Signals stay signals: ctrl-c ends
// and ctrl-z stops the command as ever.
type keyboard struct {
	typed  chan byte // nil where there is none to read
	file   *os.File
	before *unix.Termios
}

// readKeys begins, where in is the terminal of a command in the foreground: of
// one in the background it is not, and reading would stop it.
func readKeys(in *os.File) keyboard {
	if !isTerminal(in) {
		return keyboard{}
	}
	fd := int(in.Fd())
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return keyboard{}
	}
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return keyboard{}
	}
	k := keyboard{make(chan byte), in, before}
	if k.begin() != nil {
		return keyboard{}
	}
	go func() {
		var key [1]byte
		for {
			if n, err := in.Read(key[:]); n == 0 || err != nil {
				return // the terminal is gone; the watch goes on until it notices
			}
			k.typed <- key[0]
		}
	}()
	return k
}

// begin has keys come at once, and not shown.
func (k keyboard) begin() error {
	if k.before == nil {
		return nil
	}
	now := *k.before
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(k.file.Fd()), unix.TCSETS, &now)
}

// end makes the terminal what it was.
func (k keyboard) end() {
	if k.before != nil {
		_ = unix.IoctlSetTermios(int(k.file.Fd()), unix.TCSETS, k.before)
	}
}
