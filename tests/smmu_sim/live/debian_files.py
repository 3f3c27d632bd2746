"""Debian packages and an archive of them, made for tests."""

import hashlib
import io
import lzma
import struct
import tarfile
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

VERSION = "6.1.0-50-arm64"
INDEX = "main/binary-arm64/Packages.xz"


def tar_bytes(files, mode="w:xz"):
    """A tar of ``{name: bytes}``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(members):
    """An ar archive of ``[(name, bytes)]``."""
    out = b"!<arch>\n"
    for name, data in members:
        out += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", len(data))
        out += data + b"\n" * (len(data) % 2)
    return out


def deb(files, **options):
    """A .deb with these files; an odd member comes before them."""
    return ar([("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"),
               ("data.tar.xz", tar_bytes(files, **options))])


def image(page_size_code=1, rest=b"kernel"):
    """A plain arm64 Image, as far as its header goes."""
    header = bytearray(64)
    header[:2] = b"MZ"
    header[2:4] = b"\x40\xfa"
    struct.pack_into("<Q", header, 0x18, page_size_code << 1 | 8)
    header[0x38:0x3C] = b"ARMd"
    return bytes(header) + rest


def module(*needs):
    """What matters of a .ko."""
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def kernel_files(modules, builtin=("virtio", "virtio-ring"), version=VERSION, **image_options):
    """Files of a package with a kernel; ``modules`` are ``{path below kernel/: bytes}``."""
    folder = f"lib/modules/{version}"
    files = {f"boot/vmlinuz-{version}": image(**image_options),
             f"{folder}/modules.builtin": "".join(
                 f"kernel/drivers/{name}.ko\n" for name in builtin).encode()}
    return files | {f"{folder}/kernel/{path}": data for path, data in modules.items()}


ALL_MODULES = {
    "drivers/virtio/virtio_mmio.ko": module("virtio", "virtio_ring"),
    "drivers/block/virtio_blk.ko": module(),
    "drivers/char/hw_random/virtio-rng.ko": module(),
    "drivers/net/virtio_net.ko": module("net_failover"),
    "drivers/net/net_failover.ko": module("failover"),
    "net/core/failover.ko": module(),
    "drivers/net/other.ko": module(),
}


class FakeArchive:
    """A folder that looks like a mirror; ``publish`` writes the indexes of what was added."""

    def __init__(self, folder):
        self.folder, self.entries, self.asked = folder, [], []

    def add(self, suite, name, version, data, depends=""):
        path = f"pool/{name}_{version}_arm64.deb"
        self._write(path, data)
        self.entries.append((suite, "\n".join([
            f"Package: {name}", f"Version: {version}", f"Depends: {depends}", f"Filename: {path}",
            f"Size: {len(data)}", f"SHA256: {hashlib.sha256(data).hexdigest()}"])))
        return self.folder / path

    def publish(self):
        for suite in {suite for suite, _ in self.entries}:
            text = "\n\n".join(entry for other, entry in self.entries if other == suite) + "\n"
            index = lzma.compress(text.encode())
            digest = hashlib.sha256(index).hexdigest()
            self._write(f"dists/{suite}/main/binary-arm64/by-hash/SHA256/{digest}", index)
            self._write(f"dists/{suite}/Release",
                        f"Suite: {suite}\nMD5Sum:\n {'0' * 32} 5 {INDEX}\n"
                        f"SHA256:\n {digest} {len(index):8} {INDEX}\n".encode())

    def index_path(self, suite):
        folder, = (self.folder / f"dists/{suite}/main/binary-arm64/by-hash/SHA256").iterdir()
        return folder

    def _write(self, path, data):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)

    @contextmanager
    def served(self):
        """Serve the folder over HTTP; yields the mirror's address."""
        fake = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=self.folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
