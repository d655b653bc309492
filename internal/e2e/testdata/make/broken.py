import gzip, hashlib, io, json, os, shutil, sys, tarfile

source, out = sys.argv[1], sys.argv[2]
os.mkdir(out)


def blob(layout, digest):
    return f"{layout}/blobs/sha256/{digest.removeprefix('sha256:')}"


def read(layout, descriptor):
    return open(blob(layout, descriptor["digest"]), "rb").read()


def add(layout, data, like=None):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    open(blob(layout, digest), "wb").write(data)
    return {**(like or {}), "digest": digest, "size": len(data)}


class Image:
    """A copy of the small image whose parts can be replaced and put back."""

    def __init__(self, name):
        self.layout = f"{out}/{name}"
        shutil.copytree(source, self.layout)
        self.index = json.load(open(f"{self.layout}/index.json"))
        self.entry = [m for m in self.index["manifests"]
                      if m["annotations"]["org.opencontainers.image.ref.name"] == "latest"][0]
        self.manifest = json.loads(read(self.layout, self.entry))
        self.config = json.loads(read(self.layout, self.manifest["config"]))

    def save(self, config=None, manifest=None):
        data = config or json.dumps(self.config).encode()
        self.manifest["config"] = add(self.layout, data, self.manifest["config"])
        data = manifest or json.dumps(self.manifest).encode()
        self.entry.update(add(self.layout, data, self.entry))
        self.index["manifests"] = [self.entry]
        json.dump(self.index, open(f"{self.layout}/index.json", "w"))


def replace_layer(name, data, **descriptor):
    i = Image(name)
    i.manifest["layers"][-1] = {**add(i.layout, data, i.manifest["layers"][-1]), **descriptor}
    # Not the good image's, or its unpacked layer would serve.
    i.config["rootfs"]["diff_ids"][-1] = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    i.save()
    return i


# Content of its own: what a store has already, it does not read again.
shutil.copytree(source, f"{out}/base")
source = f"{out}/base"
base = Image("good")
plain = io.BytesIO(gzip.decompress(read(base.layout, base.manifest["layers"][-1])))
with tarfile.open(fileobj=plain, mode="a") as t:
    info = tarfile.TarInfo("broken")
    info.size = 6
    t.addfile(info, io.BytesIO(b"wrong\n"))
plain = plain.getvalue()
layer = gzip.compress(plain, 6)
base.manifest["layers"][-1] = add(base.layout, layer, base.manifest["layers"][-1])
base.config["rootfs"]["diff_ids"][-1] = "sha256:" + hashlib.sha256(plain).hexdigest()
base.save()
source = f"{out}/good"

# A blob that does not hash to its name, one cut off, one that is missing.
i = Image("corrupt"); i.save()
path = blob(i.layout, i.manifest["layers"][-1]["digest"])
data = bytearray(layer); data[len(data) // 2] ^= 0xff
open(path, "wb").write(data)
i = Image("truncated"); i.save()
open(blob(i.layout, i.manifest["layers"][-1]["digest"]), "wb").write(layer[: len(layer) // 2])
i = Image("missing"); i.save()
os.unlink(blob(i.layout, i.manifest["layers"][-1]["digest"]))
i = Image("trailing"); i.save()
open(blob(i.layout, i.manifest["layers"][-1]["digest"]), "ab").write(b"more")

# Descriptors that lie.
i = Image("size"); i.manifest["layers"][-1]["size"] += 1; i.save()
i = Image("diffid"); i.config["rootfs"]["diff_ids"][-1] = "sha256:" + "0" * 64; i.save()
i = Image("digestname"); i.manifest["layers"][-1]["digest"] = "sha256:../../../../etc/passwd"; i.save()
i = Image("algorithm"); i.manifest["layers"][-1]["digest"] = "md5:" + "0" * 32; i.save()
i = Image("mediatype"); i.manifest["layers"][-1]["mediaType"] = "application/vnd.example.unknown"; i.save()
i = Image("fewer"); i.config["rootfs"]["diff_ids"] = []; i.save()
i = Image("platform"); i.config.update(architecture="s390x"); i.entry["platform"] = {"os": "linux", "architecture": "s390x"}; i.save()
i = Image("windows"); i.config.update(os="windows"); i.entry["platform"] = {"os": "windows", "architecture": "amd64"}; i.save()

# Layers that lie: not gzip, cut inside, a tar cut off, a bomb.
replace_layer("notgzip", b"this is no layer\n" * 100)
replace_layer("cutgzip", layer[: len(layer) // 3])
cut = plain[: 512 * 5 + 100]
i = replace_layer("cuttar", gzip.compress(cut))
i.config["rootfs"]["diff_ids"][-1] = "sha256:" + hashlib.sha256(cut).hexdigest(); i.save()
i = replace_layer("trailinggzip", layer + b"garbage after the stream")

# A few MB that want to become gigabytes (of zeros, with a true diffID).
bomb = io.BytesIO()
digest = hashlib.sha256()
with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as z:
    info = tarfile.TarInfo("bomb"); info.size = 1 << 30
    head = info.tobuf(); z.write(head); digest.update(head)
    block = b"\0" * (1 << 20)
    for _ in range(1 << 10):
        z.write(block); digest.update(block)
    z.write(b"\0" * 1024); digest.update(b"\0" * 1024)
i = Image("bomb")
i.manifest["layers"].append({**add(i.layout, bomb.getvalue()), "mediaType": i.manifest["layers"][-1]["mediaType"]})
i.config["rootfs"]["diff_ids"].append("sha256:" + digest.hexdigest()); i.save()

# Absurd headers.
def header(size_field, name="lie"):
    info = tarfile.TarInfo(name); info.size = 0
    h = bytearray(info.tobuf(tarfile.USTAR_FORMAT)); h[124:136] = size_field
    h[148:156] = b" " * 8; h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)
def lying(name, tar):
    i = replace_layer(name, gzip.compress(tar))
    i.config["rootfs"]["diff_ids"][-1] = "sha256:" + hashlib.sha256(tar).hexdigest(); i.save()
lying("hugesize", header(b"77777777777\0") + b"\0" * 1024)
lying("negative", header(b"\xff" * 12) + b"\0" * 1024)
pax = b"x" * 3_000_000
record = b"comment=" + pax + b"\n"
record = str(len(record) + 8).encode() + b" " + record
info = tarfile.TarInfo("pax"); info.type = tarfile.XHDTYPE; info.size = len(record)
lying("hugepax", info.tobuf(tarfile.USTAR_FORMAT) + record + b"\0" * (-len(record) % 512) + tarfile.TarInfo("a").tobuf() + b"\0" * 1024)

# JSON that is hostile.
i = Image("deep"); i.save(manifest=b'{"schemaVersion":2,"x":' + b"[" * 10000 + b"]" * 10000 + b"}")
i = Image("deepconfig"); i.save(config=b'{"x":' + b"[" * 10000 + b"]" * 10000 + b"}")
i = Image("duplicate"); m = json.dumps(i.manifest)
i.save(manifest=(m[:-1] + ',"layers":[]}').encode())
i = Image("ambiguous"); i.save()
both = {**i.manifest, "manifests": [i.entry]}
i.entry.update(add(i.layout, json.dumps(both).encode(), i.entry)); i.index["manifests"] = [i.entry]
json.dump(i.index, open(f"{i.layout}/index.json", "w"))
i = Image("lyingtype"); i.save(); i.entry["mediaType"] = "application/vnd.oci.image.index.v1+json"
json.dump(i.index, open(f"{i.layout}/index.json", "w"))
i = Image("notjson"); i.save(manifest=b"<html>captive portal</html>")
i = Image("hugemanifest"); i.save(manifest=b'{"schemaVersion":2,"annotations":{"x":"' + b"y" * 20_000_000 + b'"}}')
i = Image("version"); json.dump({"imageLayoutVersion": "99.0.0"}, open(f"{i.layout}/oci-layout", "w"))
# An index that contains itself cannot be named by its digest; one that is
# nested a thousand deep can.
i = Image("nested"); i.save(); entry = dict(i.entry)
for n in range(1000):
    data = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}).encode()
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", **add(i.layout, data)}
entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
i.index["manifests"] = [entry]; json.dump(i.index, open(f"{i.layout}/index.json", "w"))
