import io, os, sys, tarfile

out = sys.argv[1]


class Layer:
    def __init__(self, n):
        self.tar = tarfile.open(f"{out}/layers.{n}.tar", "w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, **kw):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode, info.mtime = kind, len(data), mode, 1700000000
        for k, v in kw.items():
            setattr(info, k, v)
        self.tar.addfile(info, io.BytesIO(data))

    def dir(self, name, mode=0o755, **kw):
        self.add(name, tarfile.DIRTYPE, mode=mode, **kw)


one = Layer(1)
one.dir("tree", 0o2751, uid=7, gid=8)
one.add("tree/gone", data=b"gone\n")
one.add("tree/stays", data=b"stays\n")
one.dir("opaque")
one.add("opaque/old", data=b"old\n")
one.dir("parents", 0o700, uid=1000, gid=1000)
one.dir("parents/deep", 0o711, uid=5, gid=6)
one.add("link/lower", data=b"shared\n", uid=3)
one.dir("becomes-file")
one.add("becomes-file/x", data=b"x\n")
one.add("becomes-dir", data=b"file\n")
one.dir("removed")
one.add("removed/inside", data=b"x\n")

two = Layer(2)
two.add("tree/.wh.gone")
two.add("opaque/.wh..wh..opq")
two.add("opaque/new", data=b"new\n")
two.add("parents/deep/file", data=b"deep\n")      # no entry for its parents
two.add("link/upper", tarfile.LNKTYPE, linkname="link/lower")
two.add(".wh.removed")

three = Layer(3)
three.add("xattr", data=b"x\n", pax_headers={"SCHILY.xattr.user.colour": "green"})
# CAP_NET_RAW permitted and effective, revision 2
cap = bytes([1, 0, 0, 2, 0, 0x20, 0, 0] + [0] * 12).decode("latin-1")
three.add("capable", data=b"#!/bin/sh\n", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": cap})
three.add("device", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
three.add("fifo", tarfile.FIFOTYPE, mode=0o600)
three.add("long/" + "n" * 200 + "/" + "m" * 250, data=b"long\n")
three.add("setuid", data=b"s\n", mode=0o4755, uid=9)
three.add("hole", data=b"\0" * (1 << 20) + b"end\n")
three.add("latin-\udcff", data=b"bytes\n")

four = Layer(4)
four.add("becomes-file", data=b"now a file\n")
four.dir("becomes-dir")
four.add("becomes-dir/inside", data=b"in\n")
