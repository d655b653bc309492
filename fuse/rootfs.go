// Package fuse makes layers and directories into one root file system: native
// overlay inside the user namespace, fuse-overlayfs, or a copy; it probes what
// the kernel and the store allow, plans the view of the host's own root, and
// reads files through layers without mounting them.
//
// Nothing here mounts a container's root: Choose and HostView return plain
// values, and the single-threaded child of userns.Start carries them out.
package fuse

// Kind says how the child mounts a Rootfs.
type Kind string

// Storage drivers, as --storage-driver names them.
const (
	DriverOverlay = "overlay"
	DriverFuse    = "fuse-overlayfs"
	DriverCopy    = "copy"
)

// The ways to a root. Before each of them the child carries out
// Rootfs.Scratch and Rootfs.Mkdirs.
const (
	// OverlayFS: chdir(Dir) unless it is ""; fsopen(FSType); each of Params in order by fsconfig (SET_STRING,
	// or SET_FLAG where Flag is set); FSCONFIG_CMD_CREATE; fsmount(Attrs);
	// move_mount onto the target.
	OverlayFS Kind = "overlay-fs"
	// OverlayMount: chdir(Dir); mount("overlay", target, FSType, Flags, Data).
	// Names of lowers in Data are relative to Dir.
	OverlayMount Kind = "overlay-mount"
	// FuseOverlayFS: see Fuse.
	FuseOverlayFS Kind = "fuse-overlayfs"
	// Bind: open_tree(Source, OPEN_TREE_CLONE|AT_RECURSIVE) and move_mount, or
	// mount(MS_BIND|MS_REC). Source is a directory that is used as it is.
	Bind Kind = "bind"
	// Copy: a process with the mapped ids (the store stage) first calls
	// CopyLayers(ctx, Lowers, Source); afterwards it is a Bind of Source.
	Copy Kind = "copy"
	// HostRoot: see HostPlan.
	HostRoot Kind = "host"
)

// Param is one fsconfig(2) call on an fsopen'ed file system.
type Param struct {
	Key, Value string
	Flag       bool // FSCONFIG_SET_FLAG: no value
}

// Mkdir is a directory that the child makes as uid 0 of the namespace with
// umask 0; EEXIST is no error. Path is absolute, its parent exists.
type Mkdir struct {
	Path string
	Mode uint32 // permission bits
}

// NewFile is a file that is made after the directories.
type NewFile struct {
	Path string
	Data []byte
	Mode uint32
}

// Tmpfs is a fresh tmpfs that the child mounts before anything else.
type Tmpfs struct {
	Target string // an existing directory, absolute
	Data   string // mount data: "mode=0700,size=…"
}

// Rootfs says how the child, already in the new user and mount namespaces and
// uid 0 there, mounts the root on a directory of the caller's choice (the
// target) before pivot_root. It is a plain value: no descriptors, nothing to
// close, the same for --dry-run and for the run.
type Rootfs struct {
	Kind   Kind
	Driver string // overlay | fuse-overlayfs | copy | bind: what inspect shows

	Scratch *Tmpfs    // mounted first: holds a disposable upper
	Mkdirs  []Mkdir   // then made, in order: upper and work
	Files   []NewFile // then made, on the scratch

	FSType string  // "overlay"
	Params []Param // OverlayFS
	Attrs  uint    // OverlayFS: MOUNT_ATTR_* for fsmount

	Dir   string  // OverlayFS and OverlayMount: where to chdir first, "" for anywhere
	Data  string  // OverlayMount: the data page, at most 4095 bytes
	Flags uintptr // OverlayMount and FuseOverlayFS: MS_*

	Fuse *Fuse     // FuseOverlayFS
	Host *HostPlan // HostRoot

	Source string   // Bind, Copy
	Locked bool     // Bind: read-only and without set-id programs, with all that is mounted below
	Lowers []string // Copy: what to copy, topmost first

	Upper    string // where writes go; "" when the root takes none
	ReadOnly bool   // the mount takes no writes by itself (no upper)

	Notice, Hint string // one line to say once and what to type; "" if nothing
}

// Fuse is the way to a root by fuse-overlayfs.
//
// A FUSE mount belongs to the user namespace in which /dev/fuse was opened, so
// the child itself opens it and mounts; the server gets the descriptor and
// needs no mount namespace of its own, hence it ends with the mount's last
// user: when the container's mount namespace goes, read(2) on the descriptor
// says ENODEV and fuse-overlayfs exits.
//
//	child     open(Device, O_RDWR|O_CLOEXEC); dup3 to FD (O_CLOEXEC)
//	child     hands FD to the launcher: SCM_RIGHTS, or one byte and pidfd_getfd
//	child     mount("fuse-overlayfs", target, "fuse", Rootfs.Flags, MountData); goes on:
//	          whatever it then asks of the root waits for the server
//	launcher  raw clone without new namespaces: setns(/proc/CHILD/ns/user),
//	          setresgid(0), setresuid(0), dup3 descriptor to ServerFD, execve(Argv);
//	          closes its copy of the descriptor
//
// When the server cannot be started the launcher closes the descriptor, and
// the waiting child gets ENOTCONN.
type Fuse struct {
	Device    string   // /dev/fuse
	FD        int      // the child's descriptor number that MountData names
	MountData string   // "fd=…,rootmode=40000,user_id=0,group_id=0,…"
	ServerFD  int      // the server's descriptor number that Argv names
	Argv      []string // Argv[0] is the absolute path of fuse-overlayfs
}

// Request asks for a root.
type Request struct {
	LayersDir string   // ROOT/layers: names in mount(2) data are relative to it
	Lowers    []string // topmost first, absolute
	// Meta is the metadata tree (BuildMeta) of all Lowers together, whose ids
	// are another map's; the file data stays in Lowers. "" when no ids are
	// translated. One tree for the stack, not one per layer: the kernel follows
	// metacopy from the last lower only (Linux 6.16, without metacopy=on, which
	// userxattr excludes). Needs Facts.DataOnly.
	Meta string

	// Upper and Work are absolute directories on one file system; both empty
	// for a root without writes. Their parent exists, they themselves are made
	// by the child (Rootfs.Mkdirs).
	Upper, Work string
	// Scratch, if not "", is an existing directory on which the child mounts a
	// tmpfs that holds Upper and Work (which must be below it). Where the
	// kernel cannot have an upper on a tmpfs, they are on disk.
	Scratch     string
	ScratchSize int64 // bytes, 0: the kernel's default (half of memory)
	// Disposable says that nobody wants the upper after this run: an upper on
	// disk is then mounted without fsync (volatile).
	Disposable bool

	Driver string // "", overlay, fuse-overlayfs, copy: --storage-driver
	Copy   string // directory that the copy driver fills
	Cache  string // RUNROOT: the probe's answers are kept here
}

// HostKind says what one HostMount makes.
type HostKind string

// What a plan of the host's root is made of. Targets are relative to the new
// root; each parent comes before its children.
const (
	HostDir     HostKind = "dir"     // mkdir(target, Mode)
	HostSymlink HostKind = "symlink" // symlink(Source, target)
	HostFile    HostKind = "file"    // open(target, O_CREAT|O_EXCL|O_WRONLY, Mode); write(Content) if any; close
	HostOverlay HostKind = "overlay" // mkdir(Upper, Mode); mkdir(Work, 0700); mkdir(target, 0755); mount("overlay", target, "overlay", Flags, Data)
	// HostBind: open_tree(Source, OPEN_TREE_CLONE|AT_NO_AUTOMOUNT, and
	// AT_RECURSIVE where Recursive), mount_setattr(MOUNT_ATTR_RDONLY, and
	// AT_RECURSIVE likewise), move_mount onto the target, which the step before
	// has made.
	HostBind HostKind = "bind"
	// HostTmpfs: tmpfs with Data on target, which the step before has made.
	// HostView plans none: the view's root is a tmpfs itself.
	HostTmpfs HostKind = "tmpfs"
)

// HostMount is one step of a HostPlan.
type HostMount struct {
	Kind      HostKind
	Source    string  // absolute host path; HostSymlink: the text of the link
	Target    string  // relative to the new root, no leading slash
	Mode      uint32  // permission bits of HostDir, HostFile and an overlay's upper
	Content   []byte  // HostFile: a small file is copied, so that it can be written to
	Present   bool    // HostOverlay: the target is there already, in an overlay before it
	Upper     string  // HostOverlay, relative to the scratch directory
	Work      string  // likewise
	Data      string  // HostOverlay and HostTmpfs: mount(2) data; Upper and Work in it are relative
	Flags     uintptr // HostOverlay: MS_NOSUID and the like, those of the mount below
	ReadOnly  bool    // HostBind: as all are that HostView plans
	Recursive bool    // HostBind: with the mounts below Source
}

// HostPlan makes the host's own root with disposable writes. The child mounts
// Rootfs.Scratch, changes to it, makes the directory Root there with umask 0,
// carries out Mounts with Root as the new root, and then puts Root on the
// target: open_tree(Root, OPEN_TREE_CLONE|AT_RECURSIVE), move_mount. (Uppers
// and work directories lie beside Root, out of the payload's sight.)
type HostPlan struct {
	Root   string // "root": relative to the scratch directory
	Mounts []HostMount
	// Skipped are host paths that the view lacks, with the reason: sockets and
	// devices in directories that had to be split.
	Skipped []string
}
