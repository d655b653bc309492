import io, sys, tarfile

out, there = sys.argv[1], "/tmp/coracle-hostile"
up = "../" * 40 + there[1:]


def layer(tag, *entries):
    tar = tarfile.open(f"{out}/hostile.{tag}.tar", "w", format=tarfile.PAX_FORMAT)
    for name, kind, value in entries:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, 0o755, 1700000000
        data = b""
        if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info.linkname = value
        elif kind == tarfile.REGTYPE:
            data = value
            info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    tar.close()


def link(name, to):
    return (name, tarfile.SYMTYPE, to)


def file(name, data=b"planted\n"):
    return (name, tarfile.REGTYPE, data)


def dir(name):
    return (name, tarfile.DIRTYPE, None)


def wh(name):
    return file(name, b"")


# Mount targets and generated files that are links (run must not follow them
# out of the root).
layer("dev", link("dev", there))
layer("devup", link("dev", up))
layer("proc", link("proc", there))
layer("sys", link("sys", there))
layer("devshm", link("dev/shm", there), link("dev/pts", there), link("dev/mqueue", there))
layer("etcfiles", *[link(f"etc/{n}", f"{there}/{n}") for n in ("hosts", "hostname", "resolv.conf")])
layer("etcup", *[link(f"etc/{n}", f"{up}/{n}") for n in ("hosts", "hostname", "resolv.conf")])
layer("etcdangle", *[link(f"etc/{n}", "/nowhere/at/all") for n in ("hosts", "hostname", "resolv.conf")])
layer("passwd", link("etc/passwd", up + "/passwd"), link("etc/group", up + "/group"))
layer("workdir", link("work", up))
layer("target", link("mnt", up), link("srv/target", up + "/target"), dir("a"), link("a/b", up))
layer("evil", link("bin/evil", "/proc/self/exe"), file("bin/evilscript", b"#!/proc/self/exe\n"),
      file("bin/evilscript1", b"#!/proc/1/exe\n"))

# Names in the archive itself (unpacking must not leave the layer).
layer("dotdot", file("../../../../../../../../../../tmp/coracle-hostile/dotdot"))
layer("absolute", file("/tmp/coracle-hostile/absolute"))
layer("through", link("out", there), file("out/through"))
layer("throughup", link("out", up), file("out/throughup"))
layer("throughdir", link("out", there), dir("out"), file("out/x"))
layer("hardlink", ("stolen", tarfile.LNKTYPE, "/tmp/coracle-hostile-secret"))
layer("hardlinkup", ("stolen", tarfile.LNKTYPE, "../" * 40 + "tmp/coracle-hostile-secret"))
layer("hardlinkthrough", link("out", "/tmp"), ("stolen", tarfile.LNKTYPE, "out/coracle-hostile-secret"))
layer("whiteout", link("out", "/tmp"), wh("out/.wh.coracle-hostile-secret"))
layer("whiteoutup", wh(".wh..."), wh("tmp/.wh..."))
layer("whiteoutroot", wh(".wh."), wh(".wh.."))
layer("opaque", link("out", there), wh("out/.wh..wh..opq"))
layer("newline", file("new\nline"), file("esc\x1b[31mred"))
layer("longname", file("x/" * 2100 + "deep"))
