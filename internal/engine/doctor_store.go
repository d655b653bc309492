package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// statFilesystem looks at the file system that holds dir, or will hold it.
func statFilesystem(dir string) filesystemFacts {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	for errors.Is(err, unix.ENOENT) && dir != "/" {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &fs)
	}
	if err != nil {
		return filesystemFacts{err: &os.PathError{Op: "statfs", Path: dir, Err: err}}
	}
	f := filesystemFacts{
		free: fs.Bavail * uint64(fs.Bsize), total: fs.Blocks * uint64(fs.Bsize),
		freeInodes: fs.Ffree, allInodes: fs.Files,
	}
	f.kind, f.network = filesystemName(uint32(fs.Type))
	return f
}

// filesystemName is the name for a magic number of statfs(2), and whether
// several machines share such a file system.
func filesystemName(magic uint32) (name string, network bool) {
	switch magic {
	case 0xEF53:
		return "ext4", false
	case 0x58465342:
		return "xfs", false
	case 0x9123683E:
		return "btrfs", false
	case 0x01021994:
		return "tmpfs", false
	case 0x794C7630:
		return "overlay", false
	case 0x2FC12FC1:
		return "zfs", false
	case 0xF2F52010:
		return "f2fs", false
	case 0xCA451A4E:
		return "bcachefs", false
	case 0xF15F:
		return "ecryptfs", false
	case 0x65735546:
		return "fuse", false
	case 0x6969:
		return "nfs", true
	case 0x0BD00BD0:
		return "lustre", true
	case 0x47504653:
		return "gpfs", true
	case 0x19830326:
		return "beegfs", true
	case 0x00C36400:
		return "ceph", true
	case 0xFF534D42, 0xFE534D42:
		return "cifs", true
	case 0x01021997:
		return "9p", true
	case 0x5346414F:
		return "afs", true
	}
	return fmt.Sprintf("0x%x", magic), false
}

func checkStore(f doctorFacts) Check {
	const name = "store"
	if f.store == nil {
		return passes(name, f.root)
	}
	hint := hintFrom(f.store)
	if hint == "" {
		hint = "name another directory with --root DIR"
	}
	return fails(name, f.store.Error(), hint)
}

func checkStoreFilesystem(f doctorFacts) Check {
	const name = "store-filesystem"
	fs := f.filesystem
	switch {
	case fs.err != nil:
		return warns(name, fs.err.Error(), "name another directory with --root DIR")
	case fs.network:
		return warns(name, f.root+" is on "+fs.kind+", which is slow for many small files and refuses overlay and foreign owners",
			"keep the store on a local disk: --root /var/tmp/$USER/coracle")
	case fs.kind == "ecryptfs":
		return warns(name, f.root+" is on ecryptfs, which overlay refuses", "keep the store on another file system: --root /var/tmp/$USER/coracle")
	case fs.kind == "tmpfs":
		return warns(name, f.root+" is on tmpfs: images take memory, and are gone after the next boot", "keep the store on a disk: --root /var/tmp/$USER/coracle")
	}
	return passes(name, fs.kind)
}

// Below these a pull of an ordinary image is likely to fail.
const (
	littleSpace  = 2 << 30
	littleInodes = 50000
)

func checkDiskSpace(f doctorFacts) Check {
	const name = "disk-space"
	fs := f.filesystem
	detail := fmt.Sprintf("%s of %s free at %s", bytesText(fs.free), bytesText(fs.total), f.root)
	switch {
	case fs.err != nil:
		return warns(name, fs.err.Error(), "name another directory with --root DIR")
	case fs.free == 0:
		return fails(name, detail, "make room, or use --root DIR on another disk; see what images take: coracle images")
	case fs.free < littleSpace:
		return warns(name, detail, "remove images: coracle images, coracle rmi NAME; or use --root DIR on another disk")
	}
	return passes(name, detail)
}

func checkInodes(f doctorFacts) Check {
	const name = "inodes"
	fs := f.filesystem
	detail := fmt.Sprintf("%d of %d free at %s", fs.freeInodes, fs.allInodes, f.root)
	switch {
	case fs.err != nil:
		return warns(name, fs.err.Error(), "name another directory with --root DIR")
	case fs.allInodes == 0:
		return passes(name, fs.kind+" does not limit them")
	case fs.freeInodes == 0:
		return fails(name, detail, "remove files, or use --root DIR on another disk")
	case fs.freeInodes < littleInodes:
		return warns(name, detail, "remove images: coracle images, coracle rmi NAME; or use --root DIR on another disk")
	}
	return passes(name, detail)
}

// bytesText is a size with one digit after the point.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

func checkOverlay(f doctorFacts) Check {
	const name = "overlay"
	switch {
	case f.probe != nil || f.store != nil:
		return warns(name, "not tried: user namespaces or the store do not work", "solve that first")
	case f.driverErr != nil:
		hint := hintFrom(f.driverErr)
		if hint == "" {
			hint = "try another way: --storage-driver fuse-overlayfs, or --storage-driver copy"
		}
		return fails(name, f.driverErr.Error(), hint)
	case f.driver != "overlay":
		detail := "the kernel refuses overlay here; containers use " + f.driver
		if f.overlay.OverlayWhy != "" {
			detail += ": " + f.overlay.OverlayWhy
		}
		if f.driverNotice != "" {
			detail = f.driverNotice
		}
		hint := f.driverHint
		if hint == "" {
			hint = "use Linux 5.11 or later and a store on a local disk: --root DIR"
		}
		return warns(name, detail, hint)
	}
	detail := "the kernel's own works in a user namespace"
	if !f.overlay.DataOnly {
		detail += "; --userns keep-id unpacks each image once more (Linux 6.16 need not)"
	}
	if !f.overlay.HostLower {
		detail += "; not over the host's own root"
	}
	return passes(name, detail)
}
